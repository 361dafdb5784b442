//! Models whose matrices lie in kernel layout (`trefoil pack --for cpu`).
#![allow(clippy::expect_used)]

use trefoil_contract::{Error, ROWS_16_VERSION_KEY};
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, Tensor, TensorType, Value, Writer};
use trefoil_kernels::{GROUP_ROWS, LAYOUT_VERSION, WeightsType};

/// The file with its matrices laid out, row by row.
fn arranged(file: &[u8], version: Value) -> Vec<u8> {
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata.iter() {
        writer.value(key, value.clone());
    }
    writer.value(ROWS_16_VERSION_KEY, version);
    for tensor in &gguf.tensors {
        let bytes = &file[tensor.offset as usize..][..tensor.size as usize];
        let data = if tensor.dimensions.len() == 2 { groups(tensor, bytes) } else { bytes.into() };
        writer.tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type, data);
    }
    writer.to_bytes().expect("a file")
}

fn groups(tensor: &Tensor, bytes: &[u8]) -> Vec<u8> {
    let weights_type = WeightsType::named(tensor.tensor_type.name()).expect("has kernels");
    let row_bytes = bytes.len() / tensor.dimensions[1] as usize;
    let mut data = Vec::new();
    for rows in bytes.chunks(GROUP_ROWS * row_bytes) {
        if rows.len() < GROUP_ROWS * row_bytes {
            data.extend_from_slice(rows);
            continue;
        }
        let mut tiles = vec![0; rows.len()];
        for (lane, row) in rows.chunks(row_bytes).enumerate() {
            weights_type.store_row(&mut tiles, lane, row);
        }
        data.extend(tiles);
    }
    data
}

fn load(file: &[u8]) -> Result<Decoder, Error> {
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let options = Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 };
    Decoder::load(&gguf, &file, options)
}

fn logits(decoder: &mut Decoder) -> Vec<u32> {
    let tokens: Vec<u32> = (0..40).map(|i| i * 7 % 300).collect();
    let span = Span { sequence: 0, position: 0, tokens: &tokens, logits: Logits::All };
    let mut logits = Vec::new();
    decoder.forward(&[span], &mut logits).expect("a good batch");
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn every_type_gives_the_bits_of_the_plain_file() {
    use TensorType::{F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    for matrices in [F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K] {
        // 300 tokens: the embedding's last 12 rows are no whole group.
        let file = tiny_llama(&TinyLlama::with_matrices(matrices));
        let arranged = arranged(&file, LAYOUT_VERSION.into());
        let [mut plain, mut arranged] = [&file, &arranged].map(|file| load(file).expect("a model"));
        assert_eq!(plain.weights_bytes(), arranged.weights_bytes());
        assert!(logits(&mut plain) == logits(&mut arranged), "{matrices:?}");
    }
}

#[test]
fn another_version_of_the_layout_is_refused_with_both() {
    let file = tiny_llama(&TinyLlama::with_matrices(TensorType::Q4_0));
    let later = arranged(&file, (LAYOUT_VERSION + 1).into());
    let error = load(&later).err().expect("refused").to_string();
    assert!(error.contains("unsupported"), "{error}");
    assert!(error.contains(&format!("version {}", LAYOUT_VERSION + 1)), "{error}");
    assert!(error.contains(&format!("version {LAYOUT_VERSION}")), "{error}");
    let error = load(&arranged(&file, "one".into())).err().expect("refused").to_string();
    assert!(error.contains(ROWS_16_VERSION_KEY), "{error}");
}
