//! Answers of a given form by SmolLM2, in both engines.

#![allow(missing_docs, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Place, ask, smollm2};

const ENGINES: [&str; 2] = ["cpu", "cpu-relaxed"];
const SEEDS: u64 = 4;

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 30 },
            "age": { "type": "integer", "minimum": 0, "maximum": 120 },
            "born": { "type": "string", "format": "date" },
            "kind": { "enum": ["friend", "stranger", null] },
            "marks": {
                "type": "array",
                "items": { "type": "number", "minimum": 0, "maximum": 10 },
                "minItems": 1,
                "maxItems": 3,
            },
        },
        "required": ["name", "age", "born", "kind", "marks"],
        "additionalProperties": false,
    })
}

/// Whether a text is what [`person`] asks for, read without any schema.
fn is_person(text: &str) -> bool {
    let Ok(Value::Object(map)) = serde_json::from_str(text) else { return false };
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let length = text("name").map_or(0, |name| name.chars().count());
    let age = map.get("age").and_then(Value::as_i64);
    let is_date = text("born").is_some_and(|date| {
        date.len() == 10 && date.split('-').all(|part| part.parse::<u32>().is_ok())
    });
    let is_kind = map.get("kind").is_some_and(|kind| {
        kind.is_null() || kind.as_str().is_some_and(|kind| ["friend", "stranger"].contains(&kind))
    });
    let are_marks = map.get("marks").and_then(Value::as_array).is_some_and(|marks| {
        let is_mark = |mark: &Value| mark.as_f64().is_some_and(|mark| (0.0..=10.0).contains(&mark));
        (1..=3).contains(&marks.len()) && marks.iter().all(is_mark)
    });
    let is_age = age.is_some_and(|age| (0..=120).contains(&age));
    map.len() == 5 && (1..=30).contains(&length) && is_age && is_date && is_kind && are_marks
}

#[test]
fn hot_answers_satisfy_their_schema_in_both_engines() {
    for engine in ENGINES {
        let questions: Vec<_> = (0..SEEDS)
            .map(|seed| {
                json!({ "prompt": "Make up a person.", "temperature": 1.5, "seed": seed,
                        "max_tokens": 400, "json_schema": person() })
            })
            .collect();
        let answers = ask(&["generate", &smollm2(), "--engine", engine], &questions);
        let mut whole = 0;
        for answer in &answers {
            let text = answer["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
            // A number may go on for as long as there is room.
            if answer["finish_reason"] == "stop" {
                assert!(is_person(text), "{engine}: {text}");
                whole += 1;
            } else {
                assert_eq!(answer["finish_reason"], "length", "{answer}");
            }
        }
        assert!(whole > 0, "{answers:?}");
        assert!(answers.iter().any(|answer| answer["text"] != answers[0]["text"]), "{answers:?}");
    }
}

#[test]
fn an_answer_that_has_the_form_anyway_stays_the_same_in_both_engines() {
    let prompt = json!({ "prompt": "What is the capital of France?", "temperature": 0,
                         "max_tokens": 24 });
    let with = |key: &str, value: Value| {
        let mut question = prompt.clone();
        question[key] = value;
        question
    };
    let questions = [
        prompt.clone(),
        with("regex", json!("(?s:.)*")),
        with("regex", json!("[A-Z](?s:.){3,}")),
        with("grammar", json!("start: WORD (\" \" WORD)*\nWORD: /[^ ]+/")),
        with("grammar", json!("root ::= [A-Z] [^\\n]*")),
    ];
    for engine in ENGINES {
        let answers = ask(&["generate", &smollm2(), "--engine", engine], &questions);
        let text = answers[0]["text"].as_str().expect("a text");
        assert!(text.len() > 10 && !text.contains('\n'), "the prompt was chosen for that: {text}");
        for answer in &answers[1..] {
            assert_eq!(answer["ids"], answers[0]["ids"], "{engine}: {answer}");
        }
    }
}

#[test]
fn what_the_readme_shows_works() {
    let readme = include_str!("../../../README.md");
    let examples: Vec<_> = readme
        .split("```")
        .filter(|block| block.contains("--regex \"yes|no\""))
        .flat_map(|block| block.split("$ trefoil chat smollm2 ").skip(1))
        .collect();
    assert_eq!(examples.len(), 2, "the README's examples");
    let run = |example: &str| {
        let arguments = words(example);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let model = smollm2();
        Place::new().run(&[&["chat", &model, "-n", "100"], &arguments[..]].concat()).text()
    };
    assert!(["yes\n", "no\n"].contains(&run(examples[0]).as_str()));
    let person: Value = serde_json::from_str(&run(examples[1])).expect("JSON");
    let age = person["age"].as_f64();
    assert!(person["name"].is_string() && age.is_some_and(|age| age >= 0.0), "{person}");
}

/// The words of a command line, as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if character.is_whitespace() => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
            }
            _ => word.push(character),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn flags_name_files_or_hold_the_schema_and_exclude_one_another() {
    let place = Place::with_model();
    place.write("s.json", br#"{"enum": ["a", "b"]}"#);
    place.write("g.gbnf", b"root ::= \"a\" | \"b\"\n");
    let flags: [&[&str]; 4] = [
        &["--json-schema", "s.json"],
        &["--json-schema", r#"{"enum": ["a", "b"]}"#],
        &["--regex", "\"a\"|\"b\""],
        &["--grammar", "g.gbnf"],
    ];
    let run = |command: &str, flags: &[&str]| {
        place.run(&[&[command, "tiny.gguf", "-p", "x", "--raw", "-n", "9"], flags].concat())
    };
    for command in ["generate", "chat"] {
        for flags in flags {
            let text = run(command, flags).text();
            assert!(["a", "b"].contains(&text.trim().trim_matches('"')), "{command}: {text}");
        }
        let both = run(command, &["--regex", "a", "--json-schema", "{}"]);
        assert_eq!(both.code, Some(2), "{}", both.stderr);
        let missing = run(command, &["--grammar", "missing.lark"]);
        assert_eq!(missing.code, Some(2), "{}", missing.stderr);
        assert!(missing.stderr.contains("missing.lark"), "{}", missing.stderr);
        let broken = run(command, &["--json-schema", r#"{"items": {"uniqueItems": true}}"#]);
        assert_ne!(broken.code, Some(0));
        assert!(broken.stderr.contains("`uniqueItems`"), "{}", broken.stderr);
        assert!(broken.stderr.contains("`#/items/uniqueItems`"), "{}", broken.stderr);
    }
}

#[test]
fn a_deep_schema_is_refused_and_ends_no_engine() {
    let nested = |depth: usize| {
        let inner = json!({ "type": "integer" });
        (0..depth).fold(inner, |inner, _| json!({ "type": "array", "items": inner, "minItems": 1 }))
    };
    let chain = |length: usize| {
        let rule = |number: usize| format!("T{number}: \"a\" T{}\n", number + 1);
        let rules: String = (0..length).map(rule).collect();
        format!("start: T0\n{rules}T{length}: \"b\"\n")
    };
    let references = |length: usize| {
        let one = |number: usize| {
            let next = format!("#/$defs/d{}", number + 1);
            (format!("d{number}"), json!({ "type": "array", "items": { "$ref": next } }))
        };
        let mut definitions: serde_json::Map<_, _> = (0..length).map(one).collect();
        definitions.insert(format!("d{length}"), json!({ "type": "integer" }));
        json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
    };
    let place = Place::with_model();
    let question = |key: &str, value: Value| json!({ "prompt": "x", "raw": true, "max_tokens": 4, key: value });
    let questions = [
        question("json_schema", nested(60)),
        question("json_schema", json!(nested(70).to_string())),
        question("json_schema", references(98)),
        question("json_schema", references(5000)),
        question("grammar", json!(chain(98))),
        question("grammar", json!(chain(5000))),
        question("regex", json!("(".repeat(200) + "a" + &")".repeat(200))),
        question("regex", json!("(".repeat(9000) + "a" + &")".repeat(9000))),
        question("regex", json!("a")),
    ];
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    for engine in ENGINES {
        let arguments = ["generate", "tiny.gguf", "--engine", engine, "--jsonl"];
        let answers = place.run_with_input(&arguments, lines.as_bytes()).json_lines();
        let refused: Vec<_> = answers.iter().map(|answer| answer.get("error").is_some()).collect();
        let expected = [false, true, false, true, false, true, false, true, false];
        assert_eq!(refused, expected, "{engine}: {answers:?}");
    }
}
