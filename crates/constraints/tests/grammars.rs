//! Random answers under grammars, judged by other means than grammars.
#![allow(missing_docs)]

mod support;

use regex::Regex;
use serde_json::Value;
use support::Walker;
use trefoil_contract::{Error, ResponseFormat};

const ANSWERS: u64 = 20;

/// Grammars and expressions that match the same.
const REGULAR: &[(&str, &str)] = &[
    ("start: \"a\" \"b\"*", "ab*"),
    ("start: NAME (\" \" NAME)?\nNAME: /[A-Z][a-z]+/", "[A-Z][a-z]+( [A-Z][a-z]+)?"),
    ("start: one | two  // a comment\none: \"1\"\ntwo: \"2\"{2,3}", "1|2{2,3}"),
    ("start: \"yes\"i", "(?i)yes"),
    ("start: word+\nword: /[a-c]+/ \";\"\n%ignore /[ ]+/", "([a-c]+ *; *)+"),
    ("start: <|tool|> \"a\"", "a"),
    ("start: <[289]> \"a\" | \"b\"", "a|b"),
    ("root ::= \"a\" \"b\"*", "ab*"),
    (
        "# a comment\nroot ::= item | # another\n  \"x\"\nitem ::= [0-9a-f]{2,} # end",
        "[0-9a-f]{2,}|x",
    ),
    ("root ::= (\n  \"a\" |\n  \"b\"\n)+ \"c\"", "[ab]+c"),
    ("root ::= [^a-z\\]\\x00-\\x1F] \"\\u00e4\\\"\\\\\\n\"", "[^a-z\\]\\x00-\\x1F]ä\"\\\\\n"),
    ("root ::= . . \".\"", "(?s:..)\\."),
    ("root ::= \"a\"? \"b\"{2} \"c\"{1,2} \"\"", "a?b{2}c{1,2}"),
    ("root ::= [a-z]+ \"=\" number\nnumber ::= \"-\"? [0-9]+", "[a-z]+=-?[0-9]+"),
    ("root ::= <|tool|> \"a\"", "a"),
    ("root ::= x | y\nx ::= \"(\" x\ny ::= \"b\"", "b"),
];

/// The JSON texts, without white space but after a comma.
const JSON: &str = r#"
root   ::= value
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (member ("," ws member)*)? "}"
member ::= string ":" value
array  ::= "[" (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1F\x7F] | "\\" ["\\/bfnrt])* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,9}) ("." [0-9]{1,9})?
ws     ::= " "?
"#;

const PARENTHESES: &[&str] = &[
    "start: pair\npair: \"(\" pair* \")\"",
    "root ::= pair\npair ::= \"(\" pair* \")\"",
    "root ::= \"(\" inner \")\"\ninner ::= (root inner)?",
];

fn walk(walker: &Walker, grammar: &str, seed: u64) -> String {
    let format = ResponseFormat::Grammar(grammar.into());
    walker.walk(&format, seed).unwrap_or_else(|error| panic!("{grammar}: {error}"))
}

#[test]
fn answers_follow_grammars() {
    let walker = Walker::small();
    for (grammar, expression) in REGULAR {
        let whole = Regex::new(&format!(r"\A(?:{expression})\z")).expect(expression);
        for seed in 0..ANSWERS {
            let text = walk(&walker, grammar, seed);
            assert!(whole.is_match(&text), "{grammar}: {text:?}");
        }
    }
}

#[test]
fn answers_follow_recursive_grammars() {
    let walker = Walker::small();
    for seed in 0..5 * ANSWERS {
        let text = walk(&walker, JSON, seed);
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        for grammar in PARENTHESES {
            let text = walk(&walker, grammar, seed);
            let mut depth = 0_i32;
            for character in text.chars() {
                depth += if character == '(' { 1 } else { -1 };
                assert!(depth >= 0, "{text}");
            }
            assert!(depth == 0 && text.chars().all(|c| "()".contains(c)), "{text}");
        }
    }
}

#[test]
fn answers_in_tokens_of_a_real_model_follow_grammars() {
    let walker = Walker::of_model("TREFOIL_SMOLLM2");
    for seed in 0..ANSWERS {
        let text = walk(&walker, JSON, seed);
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    }
}

#[test]
fn broken_and_unsupported_grammars_are_refused_with_their_place() {
    let walker = Walker::small();
    let refused = |grammar: &str| {
        let started = walker.start(&ResponseFormat::Grammar(grammar.into()));
        started.map(drop).expect_err(grammar)
    };
    for (grammar, message) in [
        ("", "start"),
        ("start: \"a", "line 1"),
        ("start: a\na: \"a\" b", "line 2, column 4: unknown name: \"b\""),
        (
            "start: /a(/",
            "line 1, column 8: invalid regex \"a(\" (in regex): regex parse error: unclosed group",
        ),
        ("start: <|nothing|>", "line 1, column 8"),
        ("root ::= \"a", "line 1, column 10: a text without an end"),
        ("root ::= [a", "line 1, column 10: a class without an end"),
        ("root ::= [b-a]", "line 1, column 14"),
        ("root ::= (\"a\"", "expected `)`"),
        ("root ::= \"a\"{3,2}", "line 1, column 17"),
        ("root ::= \"a\"{99999999}", "at most"),
        ("root ::= \"\\q\"", "line 1, column 13: an unknown escape"),
        ("root ::= a\nb ::= \"b\"", "line 1, column 10: there is no rule `a`"),
        ("start ::= \"a\"", "no rule `root`"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule `root` stands there twice"),
        ("root ::= \"a\" root", "no text of finite length"),
        ("root ::= \"a\" )", "expected the end of the rule"),
        ("root ::= <|nothing|>", "nothing"),
    ] {
        let error = refused(grammar);
        assert!(matches!(error, Error::InvalidArgument(_)), "{grammar}: {error:?}");
        assert!(error.to_string().contains(message), "{grammar}: {error}");
    }
    for (grammar, message) in [
        (
            "start: \"a\"\n  | %json {\"type\": \"integer\"}",
            "`%json` in a grammar, at line 2, column 5",
        ),
        ("%llguidance {\"allow_invalid_utf8\": true}\nstart: \"a\"", "`%llguidance`"),
        ("start[temperature=0.5]: \"a\"", "`temperature` in a grammar, at line 1, column 7"),
        ("start[capture, stop=\"b\"]: /a*/", "`stop`"),
        ("root ::= !<|tool|>", "line 1, column 10"),
    ] {
        let error = refused(grammar);
        assert!(matches!(error, Error::Unsupported(_)), "{grammar}: {error:?}");
        assert!(error.to_string().contains(message), "{grammar}: {error}");
    }
    // What only looks like it.
    walk(&walker, "start: \"%json [stop=\" /%json/ // %json\n", 0);
}

#[test]
fn chains_that_are_too_long_are_refused() {
    let walker = Walker::small();
    let chain = |length: usize, name: char, is: &str, first: &str| {
        let mut grammar = format!("{first} {is} {name}0\n");
        for index in 0..length {
            grammar += &format!("{name}{index} {is} \"a\" {name}{}\n", index + 1);
        }
        grammar + &format!("{name}{length} {is} \"b\"\n")
    };
    for (name, is, first) in [('T', ":", "start"), ('t', ":", "start"), ('t', "::=", "root")] {
        let text = walk(&walker, &chain(98, name, is, first), 0);
        assert_eq!(text, "a".repeat(98) + "b");
        let format = ResponseFormat::Grammar(chain(100_000 / 10, name, is, first));
        let error = walker.start(&format).map(drop).expect_err("too deep");
        assert!(error.to_string().contains("too deep"), "{error}");
    }
}
