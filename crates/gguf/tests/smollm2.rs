//! The header of a real model. Expected values: `gguf` 0.19.0 from PyPI (llama.cpp's reader).

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use trefoil_gguf::{Gguf, Source, TensorType};

/// Counts what is read: the header must not cost the whole file.
struct CountingFile {
    file: File,
    size: u64,
    bytes_read: Cell<u64>,
    reads: Cell<u64>,
}

impl Source for CountingFile {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.bytes_read.set(self.bytes_read.get() + buffer.len() as u64);
        self.reads.set(self.reads.get() + 1);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).map_err(|error| error.to_string())?;
        file.read_exact(buffer).map_err(|error| error.to_string())
    }
}

fn smollm2() -> CountingFile {
    let path = std::env::var_os("TREFOIL_SMOLLM2")
        .expect("run `cargo xtask test`, which fetches the model and sets TREFOIL_SMOLLM2");
    let file = File::open(path).expect("TREFOIL_SMOLLM2 names a readable file");
    let size = file.metadata().expect("the file has a size").len();
    CountingFile { file, size, bytes_read: Cell::new(0), reads: Cell::new(0) }
}

#[test]
fn metadata_and_tensors_are_those_that_llama_cpp_reads() {
    let gguf = Gguf::read(&smollm2()).expect("the model is valid");
    let metadata = &gguf.metadata;
    assert_eq!(gguf.version, 3);
    assert_eq!(metadata.len(), 33);
    assert_eq!(metadata.string("general.architecture"), Ok(Some("llama")));
    assert_eq!(metadata.string("general.license"), Ok(Some("apache-2.0")));
    assert_eq!(metadata.u32("llama.block_count"), Ok(Some(30)));
    assert_eq!(metadata.u32("llama.context_length"), Ok(Some(8192)));
    assert_eq!(metadata.u32("llama.embedding_length"), Ok(Some(576)));
    assert_eq!(metadata.u32("llama.feed_forward_length"), Ok(Some(1536)));
    assert_eq!(metadata.u32("llama.attention.head_count"), Ok(Some(9)));
    assert_eq!(metadata.u32("llama.attention.head_count_kv"), Ok(Some(3)));
    assert_eq!(metadata.f32("llama.rope.freq_base"), Ok(Some(100_000.0)));
    assert_eq!(metadata.f32("llama.attention.layer_norm_rms_epsilon"), Ok(Some(1e-5)));
    assert_eq!(metadata.bool("tokenizer.ggml.add_bos_token"), Ok(Some(false)));
    assert_eq!(metadata.offset("tokenizer.chat_template"), Some(1_769_052));
    assert_eq!(metadata.u32("tokenizer.ggml.eos_token_id"), Ok(Some(2)));

    let tokens = metadata.strings("tokenizer.ggml.tokens").expect("texts").expect("is there");
    assert_eq!(tokens.len(), 49152);
    assert_eq!(tokens.get(1), Some(b"<|im_start|>".as_slice()));
    assert_eq!(tokens.get(49152), None);
    let merges = metadata.strings("tokenizer.ggml.merges").expect("texts").expect("is there");
    assert_eq!((merges.len(), merges.get(0)), (48900, Some("Ġ t".as_bytes())));
    let types = metadata.i32s("tokenizer.ggml.token_type").expect("integers").expect("is there");
    assert_eq!((types.len(), types[0]), (49152, 3));

    assert_eq!(gguf.tensors.len(), 272);
    assert_eq!(gguf.layout.alignment, 32);
    assert_eq!(gguf.layout.data, 1_785_664..98_362_432);
    let embedding = gguf.tensor("token_embd.weight").expect("is there");
    assert_eq!(embedding.dimensions, [576, 49152]);
    assert_eq!(embedding.tensor_type, TensorType::Q8_0);
    assert_eq!((embedding.offset, embedding.size), (1_785_664, 30_081_024));
    let key = gguf.tensor("blk.0.attn_k.weight").expect("is there");
    assert_eq!(
        (key.dimensions.as_slice(), key.tensor_type),
        ([576, 192].as_slice(), TensorType::Q4_1)
    );
    assert_eq!((key.offset, key.size), (33_530_176, 69_120));
}

#[test]
fn the_header_is_read_in_a_few_reads_and_nothing_behind_it() {
    let file = smollm2();
    let gguf = Gguf::read(&file).expect("the model is valid");
    assert!(file.bytes_read.get() < gguf.layout.data.start + (256 << 10));
    assert_eq!(file.reads.get(), file.bytes_read.get().div_ceil(256 << 10));
}
