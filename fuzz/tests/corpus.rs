//! Replays the corpora on a stable compiler. `BLESS=1` writes the seeds of `gguf` and
//! `snapshot` anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use trefoil_fixtures::{TinyLlama, broken, tiny_llama};
use trefoil_fuzz::TARGETS;
use trefoil_gguf::{Array, Gguf, Strings, TensorType, Value, Writer};

/// Seeds are committed: they stay small.
const SEED_BYTES_MAX: u64 = 20_000;

#[test]
fn every_seed_of_every_target_is_survived() {
    for (name, target) in TARGETS {
        let seeds = files(&root().join("corpus").join(name));
        assert!(!seeds.is_empty(), "`fuzz/corpus/{name}/` holds no seed");
        for seed in seeds {
            let bytes = fs::read(&seed).expect("a seed can be read");
            assert!(bytes.len() as u64 <= SEED_BYTES_MAX, "{} is too large", seed.display());
            // Shown when the target panics.
            println!("{}", seed.display());
            target(&bytes);
        }
    }
}

#[test]
fn every_target_has_its_corpus_its_binary_and_its_row() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names(&root().join("corpus")), targets, "directories in `fuzz/corpus/`");
    assert_eq!(names(&root().join("fuzz_targets")), targets, "files in `fuzz/fuzz_targets/`");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    for name in &targets {
        let row = format!("path = \"fuzz_targets/{name}.rs\"\nrequired-features = [\"libfuzzer\"]");
        assert!(manifest.contains(&row), "`{name}` has no `[[bin]]` in `fuzz/Cargo.toml`");
    }
}

#[test]
fn seeds_of_gguf_are_what_the_fixtures_make() {
    let directory = root().join("corpus/gguf");
    let bless = std::env::var_os("BLESS").is_some();
    for (name, bytes) in gguf_seeds() {
        let path = directory.join(&name);
        if bless {
            fs::write(&path, &bytes).expect("the seed can be written");
        }
        let seed = fs::read(&path).unwrap_or_default();
        assert!(seed == bytes, "`{name}` differs: run `BLESS=1 cargo test -p trefoil-fuzz`");
    }
}

#[test]
fn seeds_of_snapshot_are_what_generations_save() {
    let bless = std::env::var_os("BLESS").is_some();
    for (name, bytes) in trefoil_fuzz::snapshot_seeds() {
        let path = root().join("corpus/snapshot").join(name);
        if bless {
            fs::write(&path, &bytes).expect("the seed can be written");
        }
        let seed = fs::read(&path).unwrap_or_default();
        assert!(seed == bytes, "`{name}` differs: run `BLESS=1 cargo test -p trefoil-fuzz`");
        // Bytes of the head that are others are refused or go on.
        let head = bytes.len().min(600);
        for place in 0..head {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                trefoil_fuzz::snapshot(&changed);
            }
        }
        (0..bytes.len()).step_by(37).for_each(|end| trefoil_fuzz::snapshot(&bytes[..end]));
    }
}

/// Valid files, and one for each fault.
fn gguf_seeds() -> Vec<(String, Vec<u8>)> {
    let tiny = tiny_llama(&TinyLlama {
        layers: 1,
        embedding_length: 32,
        feed_forward_length: 32,
        heads: 2,
        kv_heads: 1,
        ..TinyLlama::with_matrices(TensorType::Q4_0)
    });
    let values = Writer::new()
        .value("bool", true)
        .value("u8", Value::U8(1))
        .value("i16", Value::I16(-1))
        .value("u64", 1u64)
        .value("f64", Value::F64(0.5))
        .value("i32s", vec![1, -1])
        .value("bools", Array::Bool(vec![true, false]))
        .value("strings", ["a", "Ġb"].into_iter().collect::<Strings>())
        .value("nested", Array::Array(vec![Array::F32(vec![1.0]), Array::Array(vec![])]))
        .to_bytes()
        .expect("writes");
    let small = Writer::new()
        .alignment(8)
        .value("general.architecture", "llama")
        .tensor("a", &[32, 2], TensorType::Q4_1, vec![1; 40])
        .tensor("b", &[3], TensorType::F32, vec![2; 12])
        .to_bytes()
        .expect("writes");
    for valid in [&tiny, &values, &small] {
        Gguf::read(valid).expect("a valid seed");
    }
    // The first value must be a text for the faults to hit: the alignment's is not.
    let first_text = Writer::new()
        .value("general.architecture", "llama of a length that holds a list")
        .tensor("a", &[32, 2], TensorType::Q4_1, vec![1; 40])
        .to_bytes()
        .expect("writes");
    let faults = broken(&first_text);
    for fault in &faults {
        let error = Gguf::read(&fault.bytes).expect_err(&fault.name).to_string();
        assert!(error.contains(fault.message), "{}: {error}", fault.name);
    }
    let valid = [("tiny-llama", tiny), ("every-value", values), ("tensors", small)];
    let valid = valid.map(|(name, bytes)| (name.to_string(), bytes));
    valid.into_iter().chain(faults.into_iter().map(|fault| (fault.name, fault.bytes))).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Names in a directory, without extensions.
fn names(directory: &Path) -> BTreeSet<String> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    files(directory).iter().filter_map(stem).collect()
}
