//! The formats of strings, as regular expressions. Where a format cannot be said in one of
//! reasonable size, the expression describes a part of it: whatever it matches has the format.

/// A format.
struct Format {
    /// What JSON Schema calls it, and formats that it is a part of.
    names: &'static [&'static str],
    /// Matches whole texts.
    pattern: &'static str,
    /// Longest text, in characters.
    length_max: Option<u32>,
}

macro_rules! days {
    // RFC 3339, section 5.7: leap years by the rule of the Gregorian calendar.
    () => {
        concat!(
            "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
            "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))",
            "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
        )
    };
}

macro_rules! times {
    // Without leap seconds, which are in few minutes only.
    () => {
        concat!(
            r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?",
            "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
        )
    };
}

macro_rules! host {
    // RFC 1123, section 2.1; no label of digits alone, which is no top-level domain.
    () => {
        concat!(
            "[A-Za-z](?:[A-Za-z0-9]|-[A-Za-z0-9]){0,30}",
            r"(?:\.[A-Za-z](?:[A-Za-z0-9]|-[A-Za-z0-9]){0,30}){0,6}"
        )
    };
}

macro_rules! number_to_255 {
    () => {
        "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
    };
}

macro_rules! ipv4 {
    () => {
        concat!(
            number_to_255!(),
            r"\.",
            number_to_255!(),
            r"\.",
            number_to_255!(),
            r"\.",
            number_to_255!()
        )
    };
}

macro_rules! path_character {
    // RFC 3986, section 3.3.
    () => {
        "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
    };
}

macro_rules! path_and_query {
    () => {
        concat!(
            "(?:/",
            path_character!(),
            r"*)*(?:\?(?:",
            path_character!(),
            "|[/?])*)?(?:#(?:",
            path_character!(),
            "|[/?])*)?"
        )
    };
}

/// Formats of JSON Schema 2020-12, "Validation", section 7.3.
const TABLE: &[Format] = &[
    Format { names: &["date-time"], pattern: concat!(days!(), "T", times!()), length_max: None },
    Format { names: &["date"], pattern: days!(), length_max: None },
    Format { names: &["time"], pattern: times!(), length_max: None },
    Format {
        // RFC 3339, appendix A: units without gaps, at least one.
        names: &["duration"],
        pattern: concat!(
            "P(?:[0-9]{1,9}W|(?:[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?",
            "|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)?",
            "T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?",
            "|[0-9]{1,9}S)|[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?",
            "|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)"
        ),
        length_max: None,
    },
    Format {
        // RFC 5321: dots between atoms, and a domain.
        names: &["email", "idn-email"],
        pattern: concat!(
            "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}",
            r"(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}){0,2}@",
            host!()
        ),
        length_max: Some(254),
    },
    Format { names: &["hostname", "idn-hostname"], pattern: host!(), length_max: Some(253) },
    Format { names: &["ipv4"], pattern: ipv4!(), length_max: None },
    Format {
        // RFC 4291, section 2.2: in full, or with one gap.
        names: &["ipv6"],
        pattern: concat!(
            "(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}",
            "|::(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?",
            "|[0-9A-Fa-f]{1,4}::(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,5})?",
            "|(?:[0-9A-Fa-f]{1,4}:){2}:(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,4})?",
            "|(?:[0-9A-Fa-f]{1,4}:){3}:(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,3})?",
            "|(?:[0-9A-Fa-f]{1,4}:){4}:(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,2})?",
            "|(?:[0-9A-Fa-f]{1,4}:){5}:(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})?)?",
            "|(?:[0-9A-Fa-f]{1,4}:){6}:(?:[0-9A-Fa-f]{1,4})?",
            "|(?:[0-9A-Fa-f]{1,4}:){7}:"
        ),
        length_max: None,
    },
    Format {
        names: &["uuid"],
        pattern: "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
        length_max: None,
    },
    Format {
        // RFC 3986, with a host that has a name or an address.
        names: &["uri", "iri"],
        pattern: concat!(
            "[A-Za-z][A-Za-z0-9+.-]*:(?://(?:",
            host!(),
            "|",
            ipv4!(),
            ")(?::[0-9]{1,5})?",
            path_and_query!(),
            "|",
            path_character!(),
            "+",
            path_and_query!(),
            ")"
        ),
        length_max: None,
    },
    Format {
        // A path, absolute or within a folder.
        names: &["uri-reference", "iri-reference"],
        pattern: concat!("(?:[A-Za-z0-9._~-]+|/", path_character!(), "+)", path_and_query!()),
        length_max: None,
    },
    Format {
        // RFC 6901.
        names: &["json-pointer"],
        pattern: r#"(?:/(?:[^/~\x00-\x1F]|~[01])*)*"#,
        length_max: None,
    },
    Format {
        names: &["relative-json-pointer"],
        pattern: r#"(?:0|[1-9][0-9]{0,9})(?:#|(?:/(?:[^/~\x00-\x1F]|~[01])*)*)"#,
        length_max: None,
    },
];

/// The expression of a format, anchored, and the greatest length.
pub(super) fn find(name: &str) -> Option<(String, Option<u32>)> {
    let format = TABLE.iter().find(|format| format.names.contains(&name))?;
    Some((format!("^(?:{})$", format.pattern), format.length_max))
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|format| format.names).copied()
}
