//! Schemas, expressions and grammars that would take for ever, or all memory.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Walker;
use trefoil_contract::{Error, ResponseFormat};

/// Far more than any of them takes, far less than for ever.
const TIME_MAX: Duration = Duration::from_secs(20);
const TOKENS: usize = 300;

/// Starts, and follows an answer a while. What cannot be followed ends with an error that says so.
fn survives(walker: &Walker, format: &ResponseFormat) -> Result<(), Error> {
    let start = Instant::now();
    let result = walker.follow(format, TOKENS);
    let shown: String = format!("{format:?}").chars().take(200).collect();
    println!("{:?} for {shown}", start.elapsed());
    assert!(start.elapsed() < TIME_MAX, "{:?} for {shown}", start.elapsed());
    match &result {
        Ok(()) | Err(Error::InvalidArgument(_) | Error::Unsupported(_)) => {}
        Err(Error::Other { code, .. }) if code == "constraint-too-complex" => {}
        Err(error) => panic!("{error:?} for {shown}"),
    }
    result
}

fn schema(value: Value) -> ResponseFormat {
    ResponseFormat::JsonSchema(value.to_string())
}

#[test]
fn large_schemas_are_followed_or_refused() {
    let walker = Walker::small();
    let names = |count: usize| (0..count).map(|number| format!("p{number}"));
    let properties = |count: usize| -> Value {
        names(count)
            .map(|name| (name, json!({"type": "integer"})))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let options = |count: usize, at_most: &str| -> Value {
        (0..count).map(|number| json!({ at_most: number })).collect()
    };
    for value in [
        json!({"type": "object", "properties": properties(1000)}),
        json!({"type": "object", "properties": properties(1000), "additionalProperties": false,
               "required": names(1000).collect::<Vec<_>>()}),
        json!({"enum": names(10_000).collect::<Vec<_>>()}),
        json!({"type": "string", "minLength": 65_536}),
        json!({"type": "string", "maxLength": 65_536, "pattern": "^(a|b)*$"}),
        json!({"type": "string", "pattern": "^(?:a|b)*a(?:a|b){60}$"}),
        json!({"type": "string", "pattern": "(?:a{1,1000}){1,1000}", "maxLength": 1000}),
        json!({"type": "array", "minItems": 65_536, "items": {"type": "array", "minItems": 65_536}}),
        json!({"type": "array", "items": {"type": "integer", "multipleOf": 997}}),
        json!({"anyOf": options(5000, "maxLength")}),
        json!({"type": "array", "prefixItems": vec![json!({"type": "integer"}); 3000]}),
        json!({"patternProperties": names(50).map(|name| (format!("^{name}$"), json!({})))
            .collect::<serde_json::Map<_, _>>()}),
    ] {
        let _ = survives(&walker, &schema(value));
    }
    for (value, message) in [
        (json!({"type": "object", "properties": properties(1001)}), "more than 1000 properties"),
        (json!({"enum": names(30_000).collect::<Vec<_>>()}), "too large"),
        (
            json!({"allOf": [{"anyOf": options(900, "maxLength")}, {"anyOf": options(900, "minLength")},
                          {"anyOf": options(900, "maximum")}]}),
            "each with each",
        ),
        (
            json!({"allOf": [{"anyOf": options(5000, "maxProperties")},
                          {"properties": properties(1000)}]}),
            "each with each",
        ),
        (json!({"multipleOf": 997, "allOf": [{"multipleOf": 991}]}), "common multiple"),
        (json!({"type": "string", "minLength": 65_537}), "at most 65536"),
    ] {
        let error = survives(&walker, &schema(value)).expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn deep_schemas_are_followed_or_refused() {
    let walker = Walker::small();
    let nested = |depth: usize, wrap: &dyn Fn(Value) -> Value| {
        (0..depth).fold(json!({"type": "integer"}), |inner, _| wrap(inner))
    };
    let wraps: [&dyn Fn(Value) -> Value; 5] = [
        &|inner| json!({"type": "array", "items": inner, "minItems": 1}),
        &|inner| json!({"type": "object", "properties": {"a": inner}, "required": ["a"]}),
        &|inner| json!({"anyOf": [inner, {"type": "null"}]}),
        &|inner| json!({"allOf": [inner]}),
        &|inner| json!({"type": "array", "prefixItems": [inner], "items": false}),
    ];
    for wrap in wraps {
        survives(&walker, &schema(nested(40, wrap))).expect("is followed");
        // Whoever reads JSON counts brackets, too.
        let error = survives(&walker, &schema(nested(66, wrap))).expect_err("is refused");
        assert!(
            error.to_string().contains("deep") || error.to_string().contains("recursion"),
            "{error}"
        );
    }
    let chain: serde_json::Map<_, _> = (0..5000)
        .map(|number| {
            (
                format!("d{number}"),
                json!({"type": "array", "items":
            {"$ref": format!("#/$defs/d{}", (number + 1) % 5000)}}),
            )
        })
        .collect();
    let _ = survives(&walker, &schema(json!({"$defs": chain, "$ref": "#/$defs/d0"})));
    let chain: serde_json::Map<_, _> = (0..5000)
        .map(|number| {
            (
                format!("d{number}"),
                match number {
                    4999 => json!({"type": "integer"}),
                    _ => json!({"$ref": format!("#/$defs/d{}", number + 1)}),
                },
            )
        })
        .collect();
    let _ = survives(&walker, &schema(json!({"$defs": chain, "$ref": "#/$defs/d0"})));
}

#[test]
fn costly_expressions_are_followed_or_refused() {
    let walker = Walker::small();
    for expression in [
        "(a{1000}){1000}",
        "((a{1000}){1000}b){1000}",
        "(a|b)*a(a|b){200}",
        "(.*a.{10000}|.*b.{10000})",
        r"(?:\w{1,500}\s){1,500}",
        r"(\p{L}|\p{N}){1000}",
        "(((((((((a?)?)?)?)?)?)?)?)?)*",
        "(a*)*b",
        "((((((((((a+)+)+)+)+)+)+)+)+)+)+",
        "[a-z]{4000000000}",
    ] {
        let _ = survives(&walker, &ResponseFormat::Regex(expression.into()));
    }
    let nested = "(".repeat(100_000) + "a" + &")".repeat(100_000);
    let error = survives(&walker, &ResponseFormat::Regex(nested)).expect_err("is refused");
    assert!(error.to_string().contains("nest"), "{error}");
    let long = (0..20_000).map(|number| number.to_string()).collect::<Vec<_>>().join("|");
    let _ = survives(&walker, &ResponseFormat::Regex(long));
}

#[test]
fn costly_grammars_are_followed_or_refused() {
    let walker = Walker::small();
    let many: String = (0..2000).map(|number| format!("r{number}: \"{number}\"\n")).collect();
    let any = (0..2000).map(|number| format!("r{number}")).collect::<Vec<_>>().join(" | ");
    for grammar in [
        format!("start: {any}\n{many}"),
        "start: a\na: a a | \"x\"".into(),
        "start: a\na: a a a | a a | \"x\" | \"\"".into(),
        "start: a{1000}\na: b{1000}\nb: \"x\"".into(),
        "start: (((\"a\"?)*)*)*".into(),
        "start: a a a a a a a a\na: \"x\"? a? \"y\"?".into(),
        format!("start: {}\"a\"{}", "(".repeat(1000), ")".repeat(1000)),
        "root ::= a{10000}\na ::= b{10000}\nb ::= \"x\" | \"(\" a \")\"".into(),
        format!("root ::= {}\"a\"{}", "(".repeat(1000), ")".repeat(1000)),
        "root ::= \"a\"{1000}{1000}{1000}".into(),
    ] {
        let _ = survives(&walker, &ResponseFormat::Grammar(grammar));
    }
}
