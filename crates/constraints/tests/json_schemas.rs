//! Random answers under the schemas of `tests/reference/schemas`, judged by the crate `jsonschema`.
#![allow(missing_docs)]

mod support;

use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;
use support::Walker;
use trefoil_contract::{Error, ResponseFormat};

/// Answers to each schema with the small vocabulary.
const ANSWERS: u64 = 6;
const FAMILIES: &[&str] =
    &["objects", "numbers", "texts", "constants", "lists", "keys", "combined", "recursive"];

/// The cases of a file.
fn cases(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/schemas");
    let text = std::fs::read_to_string(folder.join(file).with_extension("json"));
    serde_json::from_str(&text.expect("the file is there")).expect("the file is JSON")
}

fn validator(schema: &Value) -> Validator {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(schema).expect("the schema is valid")
}

fn check(walker: &Walker, case: &Value, seeds: std::ops::Range<u64>) {
    let (name, schema) = (&case["name"], &case["schema"]);
    let validator = validator(schema);
    let format = ResponseFormat::JsonSchema(schema.to_string());
    for seed in seeds {
        let answer = walker.walk(&format, seed).unwrap_or_else(|error| panic!("{name}: {error}"));
        judge(&validator, &answer, &format!("{name}, seed {seed}, {schema}"));
    }
}

fn judge(validator: &Validator, text: &str, what: &str) {
    let value: Value = match serde_json::from_str(text) {
        // JSON has no largest number, but this reader has.
        Err(error) if error.to_string().starts_with("number out of range") => return,
        parsed => parsed.unwrap_or_else(|error| panic!("{what}: {error}: {text}")),
    };
    let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{what}: {text}: {errors:?}");
}

#[test]
fn answers_satisfy_schemas() {
    let walker = Walker::small();
    let mut count = 0;
    for family in FAMILIES {
        for case in cases(family) {
            check(&walker, &case, 0..ANSWERS);
            count += 1;
        }
    }
    assert!(count > 300, "{count} schemas");
}

#[test]
fn answers_in_tokens_of_real_models_satisfy_schemas() {
    for (variable, stride) in [("TREFOIL_SMOLLM2", 3), ("TREFOIL_GEMMA3", 11)] {
        let walker = Walker::of_model(variable);
        for family in FAMILIES {
            for case in cases(family).iter().step_by(stride) {
                check(&walker, case, 0..1);
            }
        }
    }
}

#[test]
fn what_cannot_be_promised_is_refused_by_name() {
    let walker = Walker::small();
    for case in cases("refused") {
        let (message, schema) = (case["message"].as_str().expect("a text"), &case["schema"]);
        let error = walker.start(&ResponseFormat::JsonSchema(schema.to_string()));
        let error = error.err().unwrap_or_else(|| panic!("{schema} is accepted"));
        assert!(matches!(error, Error::InvalidArgument(_) | Error::Unsupported(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(message), "{schema}: {text}");
        // The place, as a pointer.
        assert!(text.contains("`#"), "{schema}: {text}");
    }
}
