//! How weights are read: once, in the order of the file, in pieces that a model component gives.

use std::cell::RefCell;

use trefoil_contract::READ_LENGTH_MAX;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_gguf::{Gguf, Source};

/// Remembers what was read, as offset and length.
struct Recording {
    file: Vec<u8>,
    reads: RefCell<Vec<(u64, u64)>>,
}

impl Source for Recording {
    fn size(&self) -> u64 {
        self.file.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.reads.borrow_mut().push((offset, buffer.len() as u64));
        self.file.read_at(offset, buffer)
    }
}

#[test]
fn tensors_are_read_once_in_the_order_of_the_file_in_pieces()
-> Result<(), Box<dyn std::error::Error>> {
    // An embedding matrix of more than one piece.
    let options = TinyLlama { embedding_length: 1024, layers: 1, ..Default::default() };
    let source = Recording { file: tiny_llama(&options), reads: RefCell::default() };
    let gguf = Gguf::read(&source)?;
    source.reads.borrow_mut().clear();
    Decoder::load(
        &gguf,
        &source,
        Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 },
    )?;

    let piece = u64::from(READ_LENGTH_MAX);
    let mut expected: Vec<_> = gguf
        .tensors
        .iter()
        .flat_map(|tensor| {
            let starts = (0..tensor.size).step_by(READ_LENGTH_MAX as usize);
            starts.map(|start| (tensor.offset + start, piece.min(tensor.size - start)))
        })
        .collect();
    expected.sort_unstable();
    assert!(expected.len() > gguf.tensors.len(), "no tensor has several pieces");
    assert_eq!(source.reads.into_inner(), expected);
    Ok(())
}
