//! The page and the npm package, in Chromium and in Node.js, with a real model.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use support::page::script;
use support::{Place, needed, run_with_input, smollm2};
use trefoil_fixtures::golden;

/// Two cores are shared by a browser, its workers and this machine: one test at a time, or pages would
/// be slow for no fault of theirs.
static TURN: Mutex<()> = Mutex::new(());

/// A place with the site of SmolLM2 as `site`.
fn place() -> Place {
    place_with(&[])
}

fn place_with(flags: &[&str]) -> Place {
    let place = Place::new();
    let web = ["web", &smollm2(), "--title", "SmolLM2", "-o", "site"];
    place.run(&[&web, flags].concat()).succeeded();
    place
}

/// Runs a script that checks things one by one, and says which failed.
fn passes(mut command: Command, place: &Place) {
    command.arg("--site").arg(place.path("site"));
    let shown = format!("{command:?}");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = run_with_input(command, b"");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.code, Some(0), "{shown}\n{said}{}", ended.stderr);
    assert!(said.contains("ok 1: "), "{shown} checked nothing: {said}");
}

const PROMPT: &str = "Name three colours and say what each reminds you of.";
/// Tokens that are compared.
const TOKENS: &str = if cfg!(feature = "exhaustive") { "64" } else { "16" };

/// What computes them, in how many workers, and by what these exchange.
type Runtime = (&'static str, &'static str, Option<&'static str>);

const RUNTIMES: &[Runtime] = if cfg!(feature = "exhaustive") {
    &[
        ("node", "1", None),
        ("node", "2", MEMORY),
        ("node", "3", MEMORY),
        ("chromium", "1", None),
        ("chromium", "2", MEMORY),
        ("chromium", "2", MESSAGES),
        ("chromium", "3", MESSAGES),
        ("firefox", "1", None),
        ("firefox", "2", MEMORY),
        ("firefox", "2", MESSAGES),
    ]
} else {
    &[("node", "1", None), ("chromium", "2", MEMORY), ("chromium", "2", MESSAGES)]
};
const MEMORY: Option<&str> = Some("memory");
const MESSAGES: Option<&str> = Some("messages");

/// The engine `cpu` gives the same bits everywhere: so greedy choices are the same, whatever runs
/// it, in how many workers.
#[test]
fn tokens_in_browsers_and_node_are_those_of_trefoil() {
    same_tokens(&place(), RUNTIMES);
}

/// In `cargo xtask test --all`.
#[cfg(feature = "exhaustive")]
#[test]
fn so_they_are_with_the_weights_inside_the_engine() {
    let place = place_with(&["--weights", "inside"]);
    let runtimes = [("node", "2", MEMORY), ("chromium", "1", None), ("chromium", "2", MESSAGES)];
    same_tokens(&place, &runtimes);
    passes(script("chat.mjs"), &place);
}

fn same_tokens(place: &Place, runtimes: &[Runtime]) {
    let flags = ["--engine", "cpu", "--temperature", "0", "-n", TOKENS, "--json", "-p", PROMPT];
    let answer = place.run(&[&["generate", &smollm2()], &flags[..]].concat()).json();
    let ids = answer["ids"].as_array().expect("a list").iter().map(Value::to_string);
    let ids = ids.collect::<Vec<_>>().join(",");
    for (runtime, workers, exchange) in runtimes {
        let mut command = script("greedy.mjs");
        command.arg("--package").arg(PathBuf::from(needed("TREFOIL_NPM_PACKAGE")));
        command.args(["--where", runtime, "--workers", workers, "--engine", "cpu"]);
        command.args(exchange.iter().flat_map(|name| ["--exchange", name]));
        passes(with(command, &["--prompt", PROMPT, "--tokens", &ids]), place);
    }
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

/// Some of what may go wrong; with `--all` everything.
#[test]
fn what_goes_wrong_ends_in_words_with_a_way_on_and_leaves_nothing_corrupt() {
    let some = ["--only", "wrong-checksum"];
    let cases = if cfg!(feature = "exhaustive") { &[][..] } else { &some };
    passes(with(script("faults.mjs"), cases), &place());
}

#[test]
fn a_person_chats_stops_the_answer_and_comes_back_without_a_network() {
    passes(script("chat.mjs"), &place());
}

/// In `cargo xtask test --all`.
#[cfg(feature = "exhaustive")]
#[test]
fn a_person_chats_in_firefox() {
    passes(script("firefox.mjs"), &place());
}

#[test]
fn an_audit_finds_nothing_serious_in_any_state_of_the_page() {
    passes(script("accessibility.mjs"), &place());
}

#[test]
fn every_call_of_the_package_works_in_node() {
    let mut command = script("package.mjs");
    command.arg("--package").arg(needed("TREFOIL_NPM_PACKAGE"));
    passes(command, &place());
}

#[test]
fn the_number_of_workers_is_measured_and_kept() {
    let mut command = script("measuring.mjs");
    command.arg("--package").arg(needed("TREFOIL_NPM_PACKAGE"));
    passes(command, &place());
}

#[test]
fn the_package_ranks_documents_as_trefoil_does() {
    let place = Place::new();
    let model = golden::ranking().swap_remove(0);
    place.write("rank.gguf", &model.file);
    place.run(&["web", "rank.gguf", "-o", "site", "--engine", "cpu"]).succeeded();
    let documents = ["one", "two words", "3"];
    let mut run = vec!["rerank", "rank.gguf", "--engine", "cpu", "--json", "-Q", "what?"];
    documents.iter().for_each(|document| run.extend(["-d", document]));
    let results = place.run(&run).json()["results"].take();
    let results = results.as_array().expect("a list").iter();
    let expected: Vec<_> =
        results.map(|it| json!({ "index": it["index"], "score": it["score"] })).collect();
    let mut command = script("rerank.mjs");
    command.arg("--package").arg(needed("TREFOIL_NPM_PACKAGE"));
    command.args(["--query", "what?", "--documents", &json!(documents).to_string()]);
    passes(with(command, &["--expected", &json!(expected).to_string()]), &place);
}

/// The text of an example of `docs/web.md`.
fn example(name: &str) -> &'static str {
    let page = include_str!("../../../docs/web.md");
    let (_, rest) =
        page.split_once(&format!("<!-- example: {name} -->\n```")).expect("there is one");
    let (_, rest) = rest.split_once('\n').expect("lines");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_examples_of_the_documentation_work() {
    let place = place();
    let package = PathBuf::from(needed("TREFOIL_NPM_PACKAGE"));
    place.write("own.html", example("page").as_bytes());
    let mut command = script("example.mjs");
    command.arg("--package").arg(&package).arg("--page").arg(place.path("own.html"));
    passes(command, &place);

    // Below the folder in which the package is installed, where Node.js looks for it.
    let installed = package.ancestors().nth(3).expect("a folder");
    let folder = tempfile::tempdir_in(installed).expect("a folder");
    let file = folder.path().join("example.mjs");
    std::fs::write(&file, example("node")).expect("writes");
    let packages = needed("TREFOIL_NODE_PACKAGES");
    let mut node = Command::new(format!("{packages}/node_modules/.bin/node"));
    node.current_dir(place.folder.path()).arg(file);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(run_with_input(node, b"").text().len() > 10);
}
