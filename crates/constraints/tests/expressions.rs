//! Random answers under regular expressions, judged by the crate `regex`.
#![allow(missing_docs)]

mod support;

use regex::Regex;
use support::Walker;
use trefoil_contract::{Error, ResponseFormat};

const ANSWERS: u64 = 20;

const EXPRESSIONS: &[&str] = &[
    "",
    "a",
    "a*",
    "a+b?",
    "yes|no|maybe",
    "^abc$",
    "^a|b$",
    r"\d{3}-\d{4}",
    r"[A-Z][a-z]+ [A-Z][a-z]+",
    r"\w{1,8}@\w{1,8}\.com",
    r"(?i)hello",
    r"\p{Greek}{3}",
    "(?x) a # a comment\n [bc]",
    "//*a/",
    r"[^a-z]{2,4}",
    "(?s:.){5}",
    r".{5}",
    "(a|ab)(c|bcd)(d*)",
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?",
    r"\{(\w{1,5}:\d{1,5})(,\w{1,5}:\d{1,5})*\}",
    "[äöü😀]+",
    r#"["'\\/]{3}"#,
    r"\s\S",
    r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])",
    "a{2}b{1,}c{0,3}",
    "(?:(?:a|b)*c){2}",
    r"[\[\]&~-]+",
    "\n\t\r",
    "(?P<stop>a+)b",
    "(?x)[a b]+ # no end",
];

fn check(walker: &Walker, expression: &str, seeds: std::ops::Range<u64>) {
    // The line break ends a comment.
    let end = if expression.starts_with("(?x)") { "\n" } else { "" };
    let whole = Regex::new(&format!(r"\A(?:{expression}{end})\z"));
    let whole = whole.expect(expression);
    let format = ResponseFormat::Regex(expression.into());
    for seed in seeds {
        let text =
            walker.walk(&format, seed).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(whole.is_match(&text), "`{expression}` does not match {text:?}");
    }
}

#[test]
fn answers_match_expressions() {
    let walker = Walker::small();
    for expression in EXPRESSIONS {
        check(&walker, expression, 0..ANSWERS);
    }
}

#[test]
fn answers_in_tokens_of_real_models_match_expressions() {
    for variable in ["TREFOIL_SMOLLM2", "TREFOIL_GEMMA3"] {
        let walker = Walker::of_model(variable);
        for expression in EXPRESSIONS {
            check(&walker, expression, 0..2);
        }
    }
}

#[test]
fn broken_and_unsupported_expressions_are_refused_with_their_place() {
    let walker = Walker::small();
    let refused = |expression: &str| {
        let started = walker.start(&ResponseFormat::Regex(expression.into()));
        started.map(drop).expect_err(expression)
    };
    for (expression, message) in [
        ("ab(", "at byte 2: unclosed group"),
        ("a[b", "at byte 1: unclosed character class"),
        ("*", "at byte 0: repetition operator missing expression"),
        (r"\p{Nonsense}", "at byte 0"),
        ("a(?=b)", "at byte 1: look-around"),
        ("a[b&&c]", "no text satisfies"),
        (r"(a)\1", "at byte 3: backreferences"),
    ] {
        let error = refused(expression);
        assert!(matches!(error, Error::InvalidArgument(_)), "{expression}: {error:?}");
        assert!(error.to_string().contains(message), "{expression}: {error}");
    }
    for (expression, message) in
        [(r"\bword\b", "only at the beginning"), ("a^b", "only at the beginning")]
    {
        let error = refused(expression);
        assert!(matches!(error, Error::Unsupported(_)), "{expression}: {error:?}");
        assert!(error.to_string().contains(message), "{expression}: {error}");
    }
    let long = refused(&"a".repeat(300_000));
    assert!(long.to_string().contains("at most"), "{long}");
}
