//! Encoders whose metadata lie: each is refused with a message that says what was expected.
#![allow(clippy::expect_used)]

use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options, fit};
use trefoil_fixtures::{Edited, golden};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, Value};

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 };

/// A file of `cargo xtask golden`, with one thing changed.
struct Changed(Edited);

impl Changed {
    fn new(name: &str) -> Self {
        let models = golden::embeddings();
        let model = models.into_iter().find(|model| model.name == name);
        Changed(Edited::new(&model.expect("a model of that name").file))
    }

    fn set(mut self, key: &str, new: impl Into<Value>) -> Self {
        self.0.set(key, new);
        self
    }

    fn without_value(mut self, key: &str) -> Self {
        self.0.values.retain(|(name, _)| name != key);
        self
    }

    /// `None` leaves the tensor out.
    fn tensor(mut self, name: &str, new: Option<&[u64]>) -> Self {
        match new {
            Some(shape) => {
                let tensor = self.0.tensor(name);
                tensor.reshape(shape, tensor.tensor_type);
            }
            None => self.0.tensors.retain(|tensor| tensor.name != name),
        }
        self
    }

    fn load(&self) -> Result<Decoder, Error> {
        let file = self.0.file();
        let gguf = Gguf::read(&file).expect("a well-formed file");
        Decoder::load(&gguf, &file, OPTIONS)
    }

    #[track_caller]
    fn refused(&self, expected: Error) {
        assert_eq!(self.load().err(), Some(expected));
    }
}

fn invalid(message: &str) -> Error {
    Error::InvalidModel(message.into())
}

#[test]
fn refuses_kinds_of_tokens_that_are_none() {
    let key = "tokenizer.ggml.token_type_count";
    for (count, text) in [(0, "0"), (1025, "1025"), (u32::MAX, "4294967295")] {
        Changed::new("bert-mean").set(key, count).refused(invalid(&format!(
            "key `{key}` is {text}: expected a whole number from 1 to 1024"
        )));
    }
    let error = Changed::new("nomic-bert").without_value(key).load().err().expect("is missing");
    assert!(error.to_string().contains(key), "{error}");
    Changed::new("bert-mean").set(key, 3).refused(invalid(
        "tensor `token_types.weight` has the shape [32, 2]: the metadata promise [32, 3]",
    ));
    assert!(Changed::new("bert-mean").tensor("token_types.weight", None).load().is_ok());
}

#[test]
fn refuses_positions_that_are_fewer_or_more_than_the_context() {
    for context in [127u32, 129] {
        Changed::new("bert-cls").set("bert.context_length", context).refused(invalid(&format!(
            "tensor `position_embd.weight` has the shape [32, 128]: the metadata promise \
             [32, {context}]"
        )));
    }
    Changed::new("bert-cls").tensor("position_embd.weight", Some(&[32, 1])).refused(invalid(
        "tensor `position_embd.weight` has the shape [32, 1]: the metadata promise [32, 128]",
    ));
    for tensor in ["position_embd.weight", "token_embd_norm.bias", "blk.1.layer_output_norm.weight"]
    {
        Changed::new("bert-cls").tensor(tensor, None).refused(invalid(&format!(
            "tensor `{tensor}` is missing: the file is incomplete or of another architecture than \
             its metadata say"
        )));
    }
}

#[test]
fn refuses_kinds_of_pooling_that_are_none_of_ours() {
    let key = "bert.pooling_type";
    Changed::new("bert-mean")
        .set(key, 5)
        .refused(invalid("key `bert.pooling_type` is 5: expected a whole number from 0 to 4"));
    Changed::new("bert-mean").set(key, 4).refused(invalid(
        "tensor `cls.output.weight` is missing: the file is incomplete or of another architecture \
         than its metadata say",
    ));
    Changed::new("qwen3-last").set("qwen3.pooling_type", 4).refused(Error::unsupported(
        "key `qwen3.pooling_type` is 4, which a model has that ranks texts; of those this engine \
         computes encoders (`bert`)",
    ));
    for none in
        [Changed::new("bert-mean").set(key, 0), Changed::new("bert-mean").without_value(key)]
    {
        assert_eq!(none.load().expect("a model").config().pooling, None);
    }
}

#[test]
fn refuses_attention_in_the_other_direction() {
    let key = "bert.attention.causal";
    Changed::new("bert-mean").set(key, true).refused(Error::unsupported(
        "key `bert.attention.causal` is true; this engine computes `bert` models where it is false \
         or absent",
    ));
    assert!(Changed::new("bert-mean").without_value(key).load().is_ok());
}

#[test]
fn refuses_vocabularies_that_contradict_the_embedding() {
    let rows = Changed::new("bert-mean").0.tensor("token_embd.weight").dimensions[1];
    Changed::new("bert-mean").tensor("token_embd.weight", Some(&[32, rows - 1])).refused(invalid(
        &format!(
            "key `tokenizer.ggml.tokens` lists {rows} tokens: expected {}, the rows of tensor \
             `token_embd.weight`",
            rows - 1
        ),
    ));
}

#[test]
fn memory_is_told_for_one_block_and_one_text() {
    let file = Changed::new("bert-cls").0.file();
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let told = |context_tokens, sequences_max| {
        let options = Options { context_tokens, sequences_max, ..OPTIONS };
        fit(&gguf, options, 16, &[u64::MAX]).expect("a model").bytes[0]
    };
    assert_eq!(told(128, 1), told(128, 200));
    let mut decoder = Decoder::load(&gguf, &file, OPTIONS).expect("a model");
    let span = Span { sequence: 0, position: 0, tokens: &[7; 128], logits: Logits::Last };
    decoder.embed(&[span], &mut Vec::new()).expect("room in the context");
    // Pages of 64 tokens.
    assert_eq!((told(128, 1) - told(64, 1)) * 2, decoder.cache_bytes());
    let error = fit(&gguf, Options { context_tokens: 128, ..OPTIONS }, 16, &[1000]);
    let error = error.expect_err("too little").to_string();
    assert!(!error.contains("q8") && !error.contains("`sequences-max` = 0"), "{error}");
}
