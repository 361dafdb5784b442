//! `trefoil bench` on a tiny model: shapes and counts, never speeds.

#![allow(missing_docs, unreachable_pub)]

mod support;

use support::Place;

const TESTS: &str = "pp16,tg4,tg4-json,tg4@8x2";

fn bench<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "tiny.gguf", "--instances", "1", "--tests", TESTS, "-r", "2"], more].concat()
}

#[test]
fn json_has_a_result_for_each_test_and_a_value_for_each_run() {
    let report = Place::with_model().run(&bench(&["--json"])).json();
    let results = report["results"].as_array().expect("a list");
    let names: Vec<_> = results.iter().map(|it| it["test"].as_str().expect("a name")).collect();
    assert_eq!(names, ["pp16", "tg4", "tg4-json", "tg4@8x2"]);
    for result in results {
        let runs = result["runs_tokens_per_s"].as_array().expect("a list");
        let runs: Vec<_> = runs.iter().map(|run| run.as_f64().expect("a number")).collect();
        assert_eq!(runs.len(), 2);
        assert!(runs.iter().all(|run| run.is_finite() && *run > 0.0), "{runs:?}");
        let median = result["tokens_per_s"].as_f64().expect("a number");
        assert!((median - (runs[0] + runs[1]) / 2.0).abs() < 1e-6 * median);
    }
    assert_eq!(report["instances"], 1);
    assert!(report["engine"].as_str().expect("a name").starts_with("cpu-relaxed "), "{report}");
    for times in [&report["load_ms"], &report["first_token_ms"]] {
        assert_eq!(times["runs"].as_array().expect("a list").len(), 2, "{report}");
    }
    assert!(report["first_token_prompt_tokens"].as_u64().expect("a number") >= 32);
    for key in ["guest_memory_bytes", "model_bytes", "memory_read_share"] {
        assert!(report[key].as_f64().expect("a number") > 0.0, "{key}");
    }
}

#[test]
fn weights_read_per_token_are_those_of_the_file() {
    let place = Place::with_model();
    let report = place.run(&bench(&["--json", "--no-first-token"])).json();
    assert!(report["first_token_ms"].is_null());
    let inspected = place.run(&["inspect", "--json", "tiny.gguf"]).json();
    assert_eq!(report["weight_bytes_per_token"], inspected["model"]["token_bytes"]);
    let bytes = inspected["model"]["token_bytes"].as_u64().expect("a number");
    assert!(bytes > 0 && bytes < inspected["size"].as_u64().expect("a number"));
}

#[test]
fn a_composition_keeps_its_engine_and_csv_has_a_line_for_each_value() {
    let place = Place::with_model();
    let compose = ["compose", "--engine", "cpu", "--model", "tiny.gguf", "--app", "chat"];
    place.run(&[&compose[..], &["-o", "c.wasm"]].concat()).succeeded();
    let arguments = ["bench", "c.wasm", "--tests", "tg2", "-r", "1", "--no-first-token"];
    let table = place.run(&arguments).text();
    assert!(table.contains("engine cpu 0."), "{table}");
    let csv = place.run(&[&arguments[..], &["--csv"]].concat()).text();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("test,unit,median,best,runs"));
    let names: Vec<_> = lines.map(|line| line.split(',').next().expect("a name")).collect();
    assert_eq!(names[..3], ["tg2", "load", "guest-memory"]);
    assert!(csv.lines().all(|line| line.split(',').count() == 5), "{csv}");
}

#[test]
fn a_test_that_the_context_is_too_short_for_is_named_and_not_run() {
    let arguments =
        ["bench", "tiny.gguf", "--tests", "pp8,pp99999", "-r", "1", "--no-first-token", "--json"];
    let report = Place::with_model().run(&arguments).json();
    assert_eq!(report["results"].as_array().expect("a list").len(), 1);
    assert_eq!(report["skipped"][0]["test"], "pp99999");
    let reason = report["skipped"][0]["reason"].as_str().expect("a text");
    assert!(reason.contains("needs a context of 100000 tokens"), "{reason}");
}

#[test]
fn what_is_no_test_is_a_usage_error() {
    let place = Place::with_model();
    place.run(&["bench", "tiny.gguf", "--tests", "pp0"]).failed(2, &["`ppN`", "pp0"]);
    place.run(&["bench", "tiny.gguf", "-r", "0"]).failed(2, &["--repetitions"]);
}
