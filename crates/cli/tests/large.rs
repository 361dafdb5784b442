//! Models above 1 GiB and above 4 GiB.
#![cfg(feature = "exhaustive")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use support::{Place, needed};
use trefoil_fixtures::{Random, TinyLlama, tiny_llama};
use trefoil_gguf::{Gguf, MAGIC, TensorType, Value, push_key_value};

const GIB: u64 = 1 << 30;
const EMBEDDING: u64 = 1024;
const FEED_FORWARD: u64 = 8192;
/// Of a block's matrices, in half precision.
const BLOCK_BYTES: u64 = 2 * (4 * EMBEDDING * EMBEDDING + 3 * EMBEDDING * FEED_FORWARD);

/// Between the stretches of a matrix that are not zero, in bytes; the rest takes no space on disk.
const STEP: u64 = 1 << 20;
const STRETCH: usize = 1 << 12;

/// Writes a model with so many blocks.
fn large_llama(path: &Path, blocks: u64) {
    let tiny = tiny_llama(&TinyLlama::default());
    let tiny = Gguf::read(&tiny).expect("a GGUF file");
    let size = |name: &str| match name {
        "llama.embedding_length" => Some(EMBEDDING),
        "llama.feed_forward_length" => Some(FEED_FORWARD),
        "llama.block_count" => Some(blocks),
        "llama.attention.head_count" | "llama.attention.head_count_kv" => Some(16),
        "llama.rope.dimension_count" => Some(EMBEDDING / 16),
        _ => None,
    };
    let tokens = tiny.tensor("token_embd.weight").expect("is there").dimensions[1];
    let (half, single) = (TensorType::F16, TensorType::F32);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![EMBEDDING, tokens], half),
        ("output_norm.weight".to_owned(), vec![EMBEDDING], single),
    ];
    for block in 0..blocks {
        let mut add = |name: &str, shape: &[u64], kind| {
            tensors.push((format!("blk.{block}.{name}.weight"), shape.to_vec(), kind));
        };
        add("attn_norm", &[EMBEDDING], single);
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            add(name, &[EMBEDDING, EMBEDDING], half);
        }
        add("ffn_norm", &[EMBEDDING], single);
        add("ffn_gate", &[EMBEDDING, FEED_FORWARD], half);
        add("ffn_up", &[EMBEDDING, FEED_FORWARD], half);
        add("ffn_down", &[FEED_FORWARD, EMBEDDING], half);
    }

    let mut header = MAGIC.to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((tiny.metadata.len() as u64).to_le_bytes());
    for (key, value) in tiny.metadata.iter() {
        match size(key) {
            Some(size) => push_key_value(key, &Value::U32(size as u32), &mut header),
            None => push_key_value(key, value, &mut header),
        }
    }
    let mut places = Vec::new();
    let mut end = 0u64;
    for (name, shape, kind) in &tensors {
        header.extend((name.len() as u64).to_le_bytes());
        header.extend(name.as_bytes());
        header.extend((shape.len() as u32).to_le_bytes());
        header.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        header.extend(kind.number().to_le_bytes());
        header.extend(end.to_le_bytes());
        let bytes = kind.size_of(shape).expect("fits");
        places.push((end, bytes));
        end = (end + bytes).next_multiple_of(32);
    }
    header.resize(header.len().next_multiple_of(32), 0);

    let mut file = fs::File::create(path).expect("a file");
    file.write_all(&header).expect("writes");
    file.set_len(header.len() as u64 + end).expect("room for a sparse file");
    let mut random = Random::new(blocks);
    for ((name, _, kind), (start, bytes)) in tensors.iter().zip(places) {
        let at = header.len() as u64 + start;
        let numbers = |random: &mut Random, count: usize| -> Vec<u8> {
            let number = |_| match kind {
                // Around 1, and around 0.1.
                TensorType::F32 => (1.0 + 0.1 * random.normal()).to_le_bytes().to_vec(),
                _ => trefoil_fixtures::f32_to_f16(0.1 * random.normal()).to_le_bytes().to_vec(),
            };
            (0..count).flat_map(number).collect()
        };
        // Of the embedding a token reads one row, which must not be zero.
        let is_whole = *kind == TensorType::F32 || name == "token_embd.weight";
        let step = if is_whole { bytes } else { STEP.min(bytes) };
        for place in (0..bytes).step_by(step as usize) {
            let width = kind.block_bytes() as usize;
            let length = if is_whole { bytes as usize } else { STRETCH };
            file.seek(SeekFrom::Start(at + place)).expect("seeks");
            file.write_all(&numbers(&mut random, length / width)).expect("writes");
        }
    }
}

#[test]
fn a_model_above_1_gib_is_packed_in_shards_and_runs_in_trefoil_and_the_stock_wasmtime() {
    let place = Place::with_own_cache();
    let blocks = GIB / BLOCK_BYTES + 6;
    large_llama(&place.path("large.gguf"), blocks);
    assert!(fs::metadata(place.path("large.gguf")).expect("is there").len() > GIB);
    let tokens = br#"{"tokens": [3, 40, 60, 7], "top": 50}
"#;
    let logits = |model: &str, flags: &[&str]| {
        let arguments = [&["logits", model, "--jsonl"], flags].concat();
        place.run_with_input(&arguments, tokens).json_lines()
    };
    let expected = logits("file:large.gguf", &["--dir", "."]);
    let values = expected[0]["values"].as_array().expect("a list");
    assert!(values[0].as_f64() > values[49].as_f64(), "{values:?}");

    place.run(&["pack", "large.gguf", "-o", "large.wasm"]).succeeded();
    let parts = place.run(&["inspect", "large.wasm", "--json"]).json()["parts"].take();
    let models = parts.as_array().expect("a list").iter().filter(|part| part["role"] == "model");
    assert_eq!(models.count(), 2);
    fs::remove_file(place.path("large.gguf")).expect("is there");
    assert_eq!(logits("large.wasm", &[]), expected);

    place
        .run(&["compose", "--model", "large.wasm", "--app", "chat", "-o", "chat.wasm"])
        .succeeded();
    fs::remove_file(place.path("large.wasm")).expect("is there");
    let arguments = ["-p", "hello", "--raw", "--temperature", "0", "-n", "3"];
    let ours = place.run(&[&["run", "chat.wasm", "--"], &arguments[..]].concat()).succeeded();
    let mut stock = Command::new(needed("TREFOIL_WASMTIME"));
    stock.arg("run").arg(place.path("chat.wasm")).args(arguments);
    assert_eq!(support::run_with_input(stock, b"").succeeded(), ours);
}

#[test]
fn a_model_above_4_gib_runs_from_its_file_in_two_instances() {
    let place = Place::with_own_cache();
    let blocks = 4 * GIB / BLOCK_BYTES + 4;
    large_llama(&place.path("large.gguf"), blocks);
    assert!(fs::metadata(place.path("large.gguf")).expect("is there").len() > 4 * GIB);
    place.run(&["pack", "large.gguf", "-o", "large.wasm"]).failed(1, &["large.gguf", "file:PATH"]);
    let tokens = br#"{"tokens": [3, 40], "top": 50}
"#;
    let logits = |instances: &str| {
        let flags = ["--jsonl", "--dir", ".", "--instances", instances];
        let arguments = [&["logits", "file:large.gguf"], &flags[..]].concat();
        place.run_with_input(&arguments, tokens)
    };
    let found = logits("2").json_lines();
    assert_eq!(found, logits("3").json_lines(), "any number of instances gives the same");
    logits("1").failed(1, &["memory", "--instances"]);
}

/// Cheap, and says what is wrong where the others fail.
#[test]
fn sparse_files_are_what_they_should_be() {
    let place = Place::with_own_cache();
    large_llama(&place.path("small.gguf"), 1);
    let file = OpenOptions::new().read(true).open(place.path("small.gguf")).expect("is there");
    let size = file.metadata().expect("has a size").len();
    assert!((BLOCK_BYTES..2 * BLOCK_BYTES).contains(&size), "{size}");
    place.run(&["inspect", "small.gguf"]).succeeded();
}
