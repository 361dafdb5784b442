//! Files changed at random: the reader never panics, and what it accepts lies inside the file.

use std::sync::LazyLock;

use proptest::prelude::*;
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_gguf::{Gguf, TensorType};

/// A valid file whose data are cut down, so that most changes hit the header.
static MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    tiny_llama(&TinyLlama { layers: 1, ..TinyLlama::with_matrices(TensorType::Q4_0) })
});

fn reads_or_refuses(bytes: &[u8]) {
    let Ok(gguf) = Gguf::read(&bytes) else { return };
    let size = bytes.len() as u64;
    for tensor in &gguf.tensors {
        assert!(tensor.offset.checked_add(tensor.size).is_some_and(|end| end <= size));
        assert_eq!(tensor.tensor_type.size_of(&tensor.dimensions), Some(tensor.size));
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
    }
    for (key, value) in gguf.metadata.iter() {
        assert_eq!(gguf.metadata.get(key).map(|value| value.describe()), Some(value.describe()));
        let _ = (gguf.metadata.u32(key), gguf.metadata.i32s(key), gguf.metadata.string(key));
    }
}

/// Bytes that numbers in the header go wrong with.
fn patch() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (0u32..64).prop_map(|number| number.to_le_bytes().into()),
        any::<u64>().prop_map(|number| number.to_le_bytes().into()),
        (0u32..64, any::<bool>()).prop_map(|(bit, less)| {
            (1u64 << bit).wrapping_sub(less.into()).to_le_bytes().into()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn changed_bytes(patches in prop::collection::vec((any::<prop::sample::Index>(), patch()), 1..4)) {
        let mut bytes = MODEL.clone();
        let header = Gguf::read(&bytes).expect("valid").layout.data.start as usize;
        for (place, patch) in patches {
            let start = place.index(header);
            bytes[start..start + patch.len()].copy_from_slice(&patch);
        }
        reads_or_refuses(&bytes);
    }

    #[test]
    fn cut_bytes(start in any::<prop::sample::Index>(), length in 0usize..4000) {
        let mut bytes = MODEL.clone();
        let start = start.index(bytes.len());
        let end = bytes.len().min(start + length);
        bytes.drain(start..end);
        reads_or_refuses(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_valid_beginning(tail in prop::collection::vec(any::<u8>(), 0..400), tensors in 0u64..4, keys in 0u64..4) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes.extend(tail);
        reads_or_refuses(&bytes);
    }
}
