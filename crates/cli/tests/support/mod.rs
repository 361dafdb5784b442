//! Runs the binary on small models.

#![allow(dead_code, unreachable_pub)] // Each test file uses a part.

pub mod page;
pub mod served;
pub mod site;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use trefoil_fixtures::{TinyLlama, tiny_llama};

/// SmolLM2-135M-Instruct in Q4_1.
pub fn smollm2() -> String {
    needed("TREFOIL_SMOLLM2")
}

/// A path that `cargo xtask test` provides.
pub fn needed(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `cargo xtask test`, which fetches what it names")
    })
}

/// Asks a window, in one process, one question a line.
pub fn ask(arguments: &[&str], questions: &[serde_json::Value]) -> Vec<serde_json::Value> {
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let arguments = [arguments, &["--jsonl"]].concat();
    let answers = Place::new().run_with_input(&arguments, lines.as_bytes()).json_lines();
    assert_eq!(answers.len(), questions.len(), "one answer for each question");
    answers
}

/// A folder to work in. The cache is shared by all tests of this file and outlives them: what is
/// in it is found by content, and compiling takes seconds.
pub struct Place {
    pub folder: tempfile::TempDir,
    cache: PathBuf,
}

/// How a command ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        Place { folder: tempfile::tempdir().expect("a folder"), cache }
    }

    /// With a cache of its own, which goes away with it: for large files.
    pub fn with_own_cache() -> Self {
        let place = Place::new();
        let cache = place.path("cache");
        Place { cache, ..place }
    }

    /// One with the tiny model as `tiny.gguf`.
    pub fn with_model() -> Self {
        let place = Place::new();
        place.write("tiny.gguf", &tiny_llama(&TinyLlama::default()));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("writes");
    }

    /// Names of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("is there");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.expect("readable"))).collect();
        names.sort();
        names
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trefoil"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("TREFOIL_CACHE", &self.cache)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().expect("starts").into()
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        run_with_input(self.command(arguments), input)
    }
}

/// Runs a command to its end.
pub fn run_with_input(mut command: Command, input: &[u8]) -> Ended {
    {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("is piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that fails early does not read it all.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("ends");
        writer.join().expect("writes");
        output.into()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Standard output of a command that succeeded.
    pub fn succeeded(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    pub fn text(self) -> String {
        String::from_utf8(self.succeeded()).expect("is text")
    }

    pub fn json(self) -> serde_json::Value {
        serde_json::from_slice(&self.succeeded()).expect("is JSON")
    }

    /// A value for each line.
    pub fn json_lines(self) -> Vec<serde_json::Value> {
        let text = self.text();
        text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
    }

    /// That it failed with this code, and that its message has all these pieces.
    pub fn failed(self, code: i32, pieces: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for piece in pieces {
            assert!(self.stderr.contains(piece), "`{piece}` is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}
