//! One file for each kind of fault, with the whole message: it says what, where and what to do.

use trefoil_gguf::{
    ARRAY_DEPTH_MAX, Array, Gguf, KEY_BYTES_MAX, Source, TensorType, Value, Writer,
};

const DAMAGED: &str = "the file is damaged, download it again";
const TRUNCATED: &str = "the file is truncated, download it again";
const CONVERT: &str = "make the file again with a current converter";

/// Bytes put together by hand, for what a `Writer` does not write.
#[derive(Clone, Default)]
struct Raw(Vec<u8>);

impl Raw {
    /// Magic, version 3, counts of tensors and keys: 24 bytes.
    fn header(tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }
    fn u32(mut self, value: u32) -> Raw {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Raw {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend(bytes);
        self
    }
    fn string(self, string: &str) -> Raw {
        self.u64(string.len() as u64).bytes(string.as_bytes())
    }
    /// A key of one letter and its value's type: 13 bytes.
    fn key(self, value_type: u32) -> Raw {
        self.string("k").u32(value_type)
    }
    /// A tensor's record: 21 bytes, and 8 for each dimension.
    fn tensor(self, name: char, dimensions: &[u64], tensor_type: u32, offset: u64) -> Raw {
        let raw = self.string(&name.to_string()).u32(dimensions.len() as u32);
        dimensions.iter().fold(raw, |raw, size| raw.u64(*size)).u32(tensor_type).u64(offset)
    }
    fn padded(mut self, size: usize) -> Raw {
        assert!(self.0.len() <= size, "{} bytes already", self.0.len());
        self.0.resize(size, 0);
        self
    }
}

#[track_caller]
fn refuses(raw: Raw, message: &str) {
    let error = Gguf::read(&raw.0).expect_err("the file is faulty");
    assert_eq!(error.to_string(), message);
}

#[test]
fn other_formats_by_what_they_seem_to_be() {
    for (magic, cure) in [
        (
            &b"GGML"[..],
            "choose a file in GGUF format, or download it again if it is meant to be one",
        ),
        (b"tjgg", "it is in a format older than GGUF: convert it or download a GGUF file"),
        (b"PK\x03\x04", "it is an archive (a PyTorch file?): convert it to GGUF"),
        (b"version https://git-lfs", "it may be a Git LFS pointer: run `git lfs pull`"),
        (b"<!DOCTYPE html>", "it is a web page: download the file itself, not the page about it"),
    ] {
        let found = magic[..4].escape_ascii();
        let message = format!("not a GGUF file: it begins with `{found}`, expected `GGUF`; {cure}");
        refuses(Raw::default().bytes(magic).padded(64), &message);
    }
}

#[test]
fn versions_1_and_4_and_big_endian() {
    refuses(
        Raw::default().bytes(b"GGUF").u32(1).padded(64),
        "GGUF version 1 at byte 4, expected 2 or 3: version 1 was replaced in 2023; convert the \
         model again or download a newer file",
    );
    refuses(
        Raw::default().bytes(b"GGUF").u32(4).padded(64),
        "GGUF version 4 at byte 4, expected 2 or 3: use a newer Trefoil, or download the file \
         again if it is damaged",
    );
    refuses(
        Raw::default().bytes(b"GGUF\0\0\0\x03").padded(64),
        "the file is big endian (version 3 byte-swapped, at byte 4): convert it with \
         `gguf_convert_endian.py` or download a little-endian file",
    );
}

#[test]
fn a_file_that_ends_inside_its_header() {
    refuses(
        Raw::default().bytes(b"GGUF").u32(3).u64(1),
        &format!(
            "header: 8 bytes are needed at byte 16, but the file ends at byte 16: {TRUNCATED}"
        ),
    );
}

#[test]
fn more_keys_or_tensors_than_the_file_can_hold() {
    refuses(
        Raw::header(0, 1000).padded(100),
        &format!(
            "header: 13000 bytes are needed at byte 24, but the file ends at byte 100: {TRUNCATED}"
        ),
    );
    refuses(
        Raw::header(1000, 0).padded(100),
        &format!(
            "header: 32000 bytes are needed at byte 24, but the file ends at byte 100: {TRUNCATED}"
        ),
    );
}

#[test]
fn absurd_counts() {
    refuses(
        Raw::header(0, u64::MAX).padded(100),
        &format!("header: {} keys at byte 16, at most 65536 are supported: {DAMAGED}", u64::MAX),
    );
    refuses(
        Raw::header(1 << 40, 0).padded(100),
        &format!(
            "header: {} tensors at byte 8, at most 131072 are supported: {DAMAGED}",
            1u64 << 40
        ),
    );
}

#[test]
fn keys_that_are_too_long_or_not_utf_8() {
    refuses(
        Raw::header(0, 1).u64(KEY_BYTES_MAX + 1).padded(100),
        &format!(
            "key number 0: 65536 bytes of a key at byte 24, at most 65535 are supported: {DAMAGED}"
        ),
    );
    refuses(
        Raw::header(0, 1).u64(2).bytes(b"k\xff").u32(0).bytes(&[1]),
        &format!("key number 0: name `k\u{fffd}` at byte 24, expected UTF-8: {DAMAGED}"),
    );
}

#[test]
fn a_key_that_occurs_twice() {
    refuses(
        Raw::header(0, 2).key(0).bytes(&[1]).key(0).bytes(&[1]),
        &format!("key `k` occurs twice, at byte 24 and at byte 38: {CONVERT}"),
    );
}

#[test]
fn values_of_unknown_type_and_false_booleans() {
    refuses(
        Raw::header(0, 1).key(13).padded(64),
        &format!("key `k`: value type 13 at byte 33, expected 0 to 12: {DAMAGED}"),
    );
    refuses(
        Raw::header(0, 1).key(9).u32(14).u64(0),
        &format!("key `k`: value type 14 at byte 37, expected 0 to 12: {DAMAGED}"),
    );
    refuses(
        Raw::header(0, 1).key(7).bytes(&[2]),
        &format!("key `k`: boolean 2 at byte 37, expected 0 or 1: {DAMAGED}"),
    );
    refuses(
        Raw::header(0, 1).key(9).u32(7).u64(3).bytes(&[1, 0, 9]),
        &format!("key `k`: boolean 9 at byte 51, expected 0 or 1: {DAMAGED}"),
    );
}

#[test]
fn texts_and_lists_longer_than_the_file() {
    refuses(
        Raw::header(0, 1).key(8).u64(u64::MAX).padded(64),
        &format!(
            "key `k`: {} bytes are needed at byte 45, but the file ends at byte 64: {TRUNCATED}",
            u64::MAX
        ),
    );
    refuses(
        Raw::header(0, 1).key(9).u32(4).u64(1 << 40).padded(64),
        &format!(
            "key `k`: {} bytes are needed at byte 49, but the file ends at byte 64: {TRUNCATED}",
            4u64 << 40
        ),
    );
    refuses(
        Raw::header(0, 1).key(9).u32(8).u64(2).string("a").u64(99).padded(80),
        &format!(
            "key `k`: 99 bytes are needed at byte 66, but the file ends at byte 80: {TRUNCATED}"
        ),
    );
}

#[test]
fn lists_too_deep_inside_one_another() {
    let nested = |depth| (1..depth).fold(Raw::header(0, 1).key(9), |raw, _| raw.u32(9).u64(1));
    let deepest = nested(ARRAY_DEPTH_MAX).u32(0).u64(0);
    Gguf::read(&deepest.0).expect("the greatest depth is accepted");
    refuses(
        nested(ARRAY_DEPTH_MAX + 1).u32(0).u64(0),
        &format!(
            "key `k`: 5 lists inside one another at byte 85, at most 4 are supported: {DAMAGED}"
        ),
    );
}

#[test]
fn very_many_lists_inside_lists() {
    refuses(
        Raw::header(0, 1).key(9).u32(9).u64(65_537).padded(1 << 20),
        &format!(
            "key `k`: 65537 lists inside lists at byte 41, at most 65536 are supported: {DAMAGED}"
        ),
    );
}

#[test]
fn alignments_that_are_not_powers_of_two_or_out_of_range() {
    for alignment in [0u32, 1, 4, 24, 1 << 17] {
        let bytes = Writer::new().value("general.alignment", alignment).to_bytes().expect("writes");
        refuses(
            Raw(bytes),
            &format!(
                "key `general.alignment`: alignment {alignment} at byte 24, expected a power of \
                 two from 8 to 65536: {CONVERT}"
            ),
        );
    }
    let bytes = Writer::new().value("general.alignment", "wide").to_bytes().expect("writes");
    refuses(
        Raw(bytes),
        &format!(
            "key `general.alignment` at byte 24: expected an integer from 0 to 4294967295, found \
             a text of 4 bytes: {CONVERT}"
        ),
    );
}

#[test]
fn tensor_names_that_are_too_long_or_occur_twice() {
    refuses(
        Raw::header(1, 0).u64(1025).padded(2000),
        &format!(
            "tensor number 0: 1025 bytes of a tensor's name at byte 24, at most 1024 are \
             supported: {DAMAGED}"
        ),
    );
    refuses(
        Raw::header(2, 0).tensor('a', &[8], 0, 0).tensor('a', &[8], 0, 32).padded(200),
        &format!("tensor `a` occurs twice, at byte 24 and at byte 57: {CONVERT}"),
    );
}

#[test]
fn names_in_messages_are_short_and_without_control_characters() {
    let name = format!("\u{1b}[31m{}", "x".repeat(500));
    let raw = Raw::header(1, 0).string(&name).u32(9).padded(1000);
    let error = Gguf::read(&raw.0).expect_err("nine dimensions").to_string();
    let shown = format!("tensor `\\u{{1b}}[31m{}…`: number of dimensions 9", "x".repeat(75));
    assert!(error.starts_with(&shown), "{error}");
}

#[test]
fn dimensions_that_are_none_many_zero_or_immense() {
    let dimensions = |dimensions: &[u64]| Raw::header(1, 0).tensor('a', dimensions, 0, 0);
    for count in [0, 5] {
        refuses(
            dimensions(&vec![1; count]).padded(200),
            &format!(
                "tensor `a`: number of dimensions {count} at byte 33, expected 1 to 4: {DAMAGED}"
            ),
        );
    }
    refuses(
        dimensions(&[8, 0]).padded(200),
        &format!("tensor `a`: dimension 0 at byte 45, expected 1 or more: {DAMAGED}"),
    );
    for dimension in [1 << 32, 1 << 31] {
        // 2^64 elements, and elements below 2^64 whose bytes are not.
        refuses(
            dimensions(&[dimension, dimension]).padded(200),
            &format!(
                "tensor `a`: dimensions [{dimension}, {dimension}] at byte 37, expected a \
                 product below 2^64: {DAMAGED}"
            ),
        );
    }
}

#[test]
fn rows_that_are_no_whole_blocks() {
    refuses(
        Raw::header(1, 0).tensor('a', &[48, 2], TensorType::Q4_1.number(), 0).padded(200),
        &format!(
            "tensor `a`: dimensions [48, 2] at byte 37, expected a first dimension that is a \
             multiple of 32 for Q4_1: {DAMAGED}"
        ),
    );
}

#[test]
fn tensor_types_that_are_unknown_or_withdrawn() {
    refuses(
        Raw::header(1, 0).tensor('a', &[32], 1000, 0).padded(200),
        "tensor `a`: tensor type 1000 at byte 45, expected one of ggml's types: use a newer \
         Trefoil, or download the file again if it is damaged",
    );
    for withdrawn in [4, 5, 31, 32, 33, 36, 37, 38] {
        refuses(
            Raw::header(1, 0).tensor('a', &[32], withdrawn, 0).padded(200),
            &format!(
                "tensor `a`: tensor type {withdrawn} at byte 45, expected one of ggml's types: \
                 ggml has withdrawn this type; quantise the model again"
            ),
        );
    }
}

#[test]
fn data_that_are_not_aligned_beyond_the_end_or_overlapping() {
    refuses(
        Raw::header(1, 0).tensor('a', &[8], 0, 16).padded(200),
        &format!(
            "tensor `a`: offset 16 at byte 49, expected a multiple of the alignment 32: {DAMAGED}"
        ),
    );
    let whole = Raw::header(1, 0).tensor('a', &[8], 0, 32).padded(64 + 32 + 32);
    Gguf::read(&whole.0).expect("the data just fit");
    let mut short = whole;
    short.0.pop();
    refuses(
        short,
        &format!(
            "tensor `a`: its data lie at bytes 96 to 128, but the file ends at byte 127: \
             {TRUNCATED}"
        ),
    );
    refuses(
        Raw::header(1, 0).tensor('a', &[8], 0, u64::MAX - 31).padded(200),
        &format!(
            "tensor `a`: its data lie at bytes {0} to {0}, but the file ends at byte 200: \
             {TRUNCATED}",
            u64::MAX
        ),
    );
    refuses(
        Raw::header(2, 0).tensor('b', &[8], 0, 32).tensor('a', &[9], 0, 0).padded(300),
        &format!(
            "tensors `a` and `b` overlap: the one's data end at byte 132, the other's begin at \
             byte 128: {CONVERT}"
        ),
    );
}

#[test]
fn a_source_that_fails() {
    struct Failing;
    impl Source for Failing {
        fn size(&self) -> u64 {
            1000
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), String> {
            Err("the disk is gone".into())
        }
    }
    let error = Gguf::read(&Failing).expect_err("the source fails");
    assert_eq!(error.to_string(), "header: 1000 bytes at byte 0 cannot be read: the disk is gone");
}

#[test]
fn keys_of_another_type_when_asked_for() {
    let list = |list: Array| Value::Array(list);
    let bytes = Writer::new()
        .value("text", "x")
        .value("broken text", Value::String(vec![0xff]))
        .value("negative", -1i32)
        .value("large", 1u64 << 32)
        .value("integers", list(Array::I64(vec![1, 1 << 40])))
        .value("lists", list(Array::Array(vec![])))
        .to_bytes()
        .expect("writes");
    let metadata = Gguf::read(&bytes).expect("valid").metadata;
    let message = |error: Option<trefoil_gguf::Error>| error.expect("is refused").to_string();
    let at = |key| metadata.offset(key).expect("is there");
    for (error, key, expected, found) in [
        (
            metadata.u32("text").err(),
            "text",
            "an integer from 0 to 4294967295",
            "a text of 1 bytes",
        ),
        (metadata.f32("text").err(), "text", "a number", "a text of 1 bytes"),
        (metadata.bool("large").err(), "large", "a boolean", "the integer 4294967296"),
        (metadata.strings("text").err(), "text", "a list of texts", "a text of 1 bytes"),
        (
            metadata.string("broken text").err(),
            "broken text",
            "a text in UTF-8",
            "1 bytes that are not UTF-8",
        ),
        (
            metadata.u32("negative").err(),
            "negative",
            "an integer from 0 to 4294967295",
            "the integer -1",
        ),
        (
            metadata.u32("large").err(),
            "large",
            "an integer from 0 to 4294967295",
            "the integer 4294967296",
        ),
        (
            metadata.i32s("integers").err(),
            "integers",
            "a list of integers from -2147483648 to 2147483647",
            "a list with 1099511627776",
        ),
        (metadata.f32s("integers").err(), "integers", "a list of numbers", "a list of 2 integers"),
        (metadata.strings("lists").err(), "lists", "a list of texts", "a list of 0 lists"),
    ] {
        let byte = at(key);
        assert_eq!(
            message(error),
            format!("key `{key}` at byte {byte}: expected {expected}, found {found}: {CONVERT}")
        );
    }
    assert_eq!(
        metadata.missing("llama.block_count").to_string(),
        format!("key `llama.block_count` is missing from the model's metadata: {CONVERT}")
    );
}
