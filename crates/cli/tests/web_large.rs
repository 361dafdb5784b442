//! Sites of large models: constant memory, and Ctrl-C. In `cargo xtask test --all`.
#![cfg(all(feature = "exhaustive", target_os = "linux"))]

mod support;

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use support::Place;
use support::site::manifest;

const MODEL_BYTES: u64 = 900 << 20;
/// Of which the most is code: a site of 100 MB takes as much.
const PEAK_BYTES_MAX: u64 = 80 << 20;

/// With a model whose tail takes no space here, but is read like any other.
fn place() -> Place {
    let place = Place::with_own_cache();
    place.write("big.gguf", &fs::read(Place::with_model().path("tiny.gguf")).expect("is there"));
    let file = fs::OpenOptions::new().write(true).open(place.path("big.gguf")).expect("is there");
    file.set_len(MODEL_BYTES).expect("a sparse file");
    place
}

/// Waits for the end, and returns the most memory that the process ever had, in bytes.
fn peak(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().expect("can be waited for") {
            assert!(status.success());
            return peak;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_site_of_900_mb_takes_constant_memory() {
    let place = place();
    for weights in ["files", "inside"] {
        let arguments = ["web", "big.gguf", "-o", "site", "--weights", weights];
        let child = place.command(&arguments).spawn().expect("starts");
        let peak = peak(child);
        assert!((10 << 20..PEAK_BYTES_MAX).contains(&peak), "{weights}: {peak} bytes");
        let manifest = manifest(&place.path("site"));
        let part = &manifest["parts"][0];
        // Arranged for the engines, the file has two keys more, and the same padding at most.
        let more = part["size"].as_u64().expect("a size").checked_sub(MODEL_BYTES);
        assert_eq!(part["format"], "gguf-rows-16", "{part}");
        assert!(more.is_some_and(|more| (1..512).contains(&more)), "{part}");
        assert_eq!(manifest["engines"][0]["weights"] == "inside", weights == "inside");
    }
}

#[test]
fn nothing_is_left_of_a_site_after_ctrl_c() {
    let place = place();
    let mut child = place
        .command(&["web", "big.gguf", "-o", "site", "--engine", "cpu"])
        .spawn()
        .expect("starts");
    let is_being_written = || place.files().iter().any(|name| name.ends_with(".part"));
    while !is_being_written() {
        assert!(child.try_wait().expect("can be waited for").is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill is there").success());
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert_eq!(place.files(), ["big.gguf", "cache"]);
}
