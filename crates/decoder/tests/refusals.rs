//! Files whose metadata lie, contradict the tensors, or ask for what the decoder does not compute:
//! each is refused with a message that says what, where, and what was expected.
#![allow(clippy::expect_used)]

use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options, RopeScaling};
use trefoil_gguf::{Array, Gguf, Strings, TensorType, Value, Writer};

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 };

/// A model of one block that loads; tests change one thing.
struct Model {
    values: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<u64>, TensorType)>,
}

impl Model {
    fn new() -> Self {
        let integers = [
            ("block_count", 1),
            ("context_length", 32),
            ("embedding_length", 16),
            ("feed_forward_length", 24),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("rope.dimension_count", 4),
            ("vocab_size", 10),
        ];
        let mut values = vec![("general.architecture".to_owned(), Value::from("llama"))];
        values.extend(integers.map(|(key, value)| (format!("llama.{key}"), Value::from(value))));
        values.push(("llama.attention.layer_norm_rms_epsilon".to_owned(), Value::from(1e-5f32)));
        let shapes: [(&str, &[u64]); 11] = [
            ("token_embd", &[16, 10]),
            ("output_norm", &[16]),
            ("blk.0.attn_norm", &[16]),
            ("blk.0.attn_q", &[16, 16]),
            ("blk.0.attn_k", &[16, 8]),
            ("blk.0.attn_v", &[16, 8]),
            ("blk.0.attn_output", &[16, 16]),
            ("blk.0.ffn_norm", &[16]),
            ("blk.0.ffn_gate", &[16, 24]),
            ("blk.0.ffn_up", &[16, 24]),
            ("blk.0.ffn_down", &[24, 16]),
        ];
        let tensors = shapes.map(|(name, dimensions)| {
            (format!("{name}.weight"), dimensions.to_vec(), TensorType::F32)
        });
        Model { values, tensors: tensors.to_vec() }
    }

    /// The same of another architecture, with the same keys and tensors.
    fn of(architecture: &str) -> Self {
        let Model { mut values, tensors } = Model::new();
        for (key, _) in &mut values {
            *key = key.replace("llama.", &format!("{architecture}."));
        }
        Model { values, tensors }.set("general.architecture", architecture)
    }

    /// Sets a value, or adds it.
    fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.values.retain(|(other, _)| other != key);
        self.values.push((key.to_owned(), value.into()));
        self
    }

    fn without_value(mut self, key: &str) -> Self {
        self.values.retain(|(other, _)| other != key);
        self
    }

    /// Sets a tensor's shape and type, or adds it.
    fn tensor(mut self, name: &str, dimensions: &[u64], tensor_type: TensorType) -> Self {
        self.tensors.retain(|(other, ..)| other != name);
        self.tensors.push((name.to_owned(), dimensions.to_vec(), tensor_type));
        self
    }

    fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|(other, ..)| other != name);
        self
    }

    fn file(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.values {
            writer.value(key, value.clone());
        }
        for (name, dimensions, tensor_type) in &self.tensors {
            let size = tensor_type.size_of(dimensions).expect("a possible shape");
            writer.tensor(name, dimensions, *tensor_type, vec![0; size as usize]);
        }
        writer.to_bytes().expect("a file")
    }

    fn load(&self, options: Options) -> Result<Decoder, Error> {
        let file = self.file();
        let gguf = Gguf::read(&file).expect("a well-formed file");
        Decoder::load(&gguf, &file, options)
    }

    #[track_caller]
    fn refused(&self) -> Error {
        match self.load(OPTIONS) {
            Ok(_) => panic!("the model was loaded"),
            Err(error) => error,
        }
    }

    #[track_caller]
    fn refused_as_invalid(&self, message: &str) {
        assert_eq!(self.refused(), Error::InvalidModel(message.to_owned()));
    }

    #[track_caller]
    fn refused_as_unsupported(&self, message: &str) {
        assert_eq!(self.refused(), Error::unsupported(message));
    }
}

#[test]
fn the_unchanged_model_loads() {
    let decoder = Model::new().load(OPTIONS).expect("a model that loads");
    assert_eq!(decoder.config().vocabulary_tokens, 10);
    assert_eq!(decoder.config().head_length, 4);
}

#[test]
fn refuses_unknown_architectures_with_the_list_of_known_ones() {
    Model::new().set("general.architecture", "rwkv").refused_as_unsupported(
        "architecture `rwkv`; this engine computes `llama`, `qwen2`, `qwen3`, `qwen3moe`, \
             `gemma`, `gemma2`, `gemma3`, `phi3`, `olmo2`, `starcoder2`, `smollm3`, `granite`, \
             `bert`, `nomic-bert`",
    );
}

#[test]
fn names_missing_keys() {
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let error = Model::new().without_value(key).refused();
        assert!(matches!(error, Error::InvalidModel(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn names_keys_of_the_wrong_type() {
    let floats = Value::Array(Array::F32(vec![1.0]));
    for (key, value) in [
        ("general.architecture", Value::from(7)),
        ("llama.block_count", Value::from("one")),
        ("llama.attention.head_count", floats.clone()),
        ("llama.attention.layer_norm_rms_epsilon", Value::from("small")),
        ("llama.rope.scaling.type", Value::from(1)),
        ("tokenizer.ggml.tokens", floats),
        ("llama.attention.causal", Value::from("yes")),
        ("llama.expert_count", Value::from("none")),
    ] {
        let error = Model::new().set(key, value).refused();
        assert!(matches!(error, Error::InvalidModel(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn refuses_numbers_outside_their_range() {
    for (key, value, expected) in [
        ("block_count", 0, "a whole number from 1 to 1024"),
        ("block_count", 1_000_000, "a whole number from 1 to 1024"),
        ("context_length", 0, "a whole number from 1 to 16777216"),
        ("context_length", u32::MAX, "a whole number from 1 to 16777216"),
        ("embedding_length", 0, "a whole number from 1 to 65536"),
        ("embedding_length", u32::MAX, "a whole number from 1 to 65536"),
        ("feed_forward_length", 0, "a whole number from 1 to 524288"),
        ("feed_forward_length", u32::MAX, "a whole number from 1 to 524288"),
        ("attention.head_count", 0, "a whole number from 1 to 1024"),
        ("attention.head_count", 4096, "a whole number from 1 to 1024"),
        (
            "attention.head_count",
            3,
            "a divisor of the embedding length 16, because there is no \
                                     `llama.attention.key_length`",
        ),
        ("attention.head_count_kv", 0, "a whole number from 1 to 4"),
        ("attention.head_count_kv", 8, "a whole number from 1 to 4"),
        ("attention.head_count_kv", 3, "a divisor of the 4 query heads"),
        ("attention.key_length", 0, "a whole number from 1 to 1024"),
        ("attention.key_length", u32::MAX, "a whole number from 1 to 1024"),
        ("attention.value_length", 0, "a whole number from 1 to 1024"),
        ("rope.dimension_count", 0, "a whole number from 2 to 4"),
        ("rope.dimension_count", 3, "an even number, because RoPE turns pairs"),
        ("rope.dimension_count", 6, "a whole number from 2 to 4"),
        ("vocab_size", 0, "a whole number from 1 to 4194304"),
        ("vocab_size", 11, "10, the rows of tensor `token_embd.weight`"),
    ] {
        let key = format!("llama.{key}");
        let message = format!("key `{key}` is {value}: expected {expected}");
        Model::new().set(&key, value).refused_as_invalid(&message);
    }
    for (key, value, expected) in [
        ("attention.layer_norm_rms_epsilon", 0.0, "a number from 1.1754944e-38 to 1e-1"),
        ("attention.layer_norm_rms_epsilon", f32::NAN, "a number from 1.1754944e-38 to 1e-1"),
        ("rope.freq_base", f32::INFINITY, "a number from 1e0 to 1e15"),
        ("rope.freq_base", -1.0, "a number from 1e0 to 1e15"),
        ("rope.scale_linear", 0.0, "a number from 1e0 to 1e6"),
    ] {
        let key = format!("llama.{key}");
        let message = format!("key `{key}` is {value}: expected {expected}");
        Model::new().set(&key, value).refused_as_invalid(&message);
    }
}

#[test]
fn refuses_a_vocabulary_of_another_length_than_the_embedding() {
    let mut tokens = Strings::default();
    assert!(tokens.push(b"a") && tokens.push(b"b"));
    Model::new().set("tokenizer.ggml.tokens", tokens).refused_as_invalid(
        "key `tokenizer.ggml.tokens` lists 2 tokens: expected 10, the rows of tensor \
         `token_embd.weight`",
    );
}

#[test]
fn refuses_heads_that_the_kernels_cannot_compute() {
    Model::new().set("llama.attention.value_length", 8).refused_as_unsupported(
        "key `llama.attention.value_length` is 8 where keys have length 4; this engine computes \
         heads whose keys and values have one length",
    );
    Model::new().set("llama.attention.key_length", 6).refused_as_unsupported(
        "attention heads of length 6; this engine computes multiples of 4 up to 1024",
    );
    Model::new().set("llama.embedding_length", 8192).refused_as_unsupported(
        "attention heads of length 2048; this engine computes multiples of 4 up to 1024",
    );
}

#[test]
fn refuses_rope_scaling_by_name() {
    Model::new().set("llama.rope.scaling.type", "dynamic").refused_as_unsupported(
        "key `llama.rope.scaling.type` is `dynamic`; this engine computes `none`, `linear`, `yarn`, \
         `longrope`, and the factors of a tensor `rope_freqs.weight`",
    );
    for scaling in ["linear", "yarn"] {
        let error = Model::new().set("llama.rope.scaling.type", scaling).refused();
        assert!(error.to_string().contains("`llama.rope.scaling.factor`"), "{error}");
    }
    Model::new()
        .set("llama.rope.scaling.type", "linear")
        .set("llama.rope.scaling.factor", 0.0f32)
        .refused_as_invalid(
            "key `llama.rope.scaling.factor` is 0: expected a number from 1e0 to 1e6",
        );
}

#[test]
fn rope_is_scaled_linearly_where_the_file_names_no_type() {
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        let model = Model::new().set(key, 4.0f32).load(OPTIONS).expect("a model that loads");
        assert_eq!(model.config().rope.scaling, RopeScaling::Linear(4.0), "{key}");
    }
}

#[test]
fn refuses_features_that_the_decoder_would_leave_out() {
    Model::new().set("llama.final_logit_softcapping", 30.0f32).refused_as_unsupported(
        "key `llama.final_logit_softcapping` is 30; this engine computes `llama` models where it is \
         0 or absent",
    );
    for (key, value) in [("expert_count", 8), ("attention.sliding_window", 16)] {
        Model::of("granite").set(&format!("granite.{key}"), value).refused_as_unsupported(&format!(
            "key `granite.{key}` is {value}; this engine computes `granite` models where it is 0 or \
             absent"
        ));
    }
    Model::new().set("llama.attention.causal", false).refused_as_unsupported(
        "key `llama.attention.causal` is false; this engine computes `llama` models where it is \
         true or absent",
    );
}

#[test]
fn names_missing_tensors() {
    for name in ["token_embd.weight", "output_norm.weight", "blk.0.attn_k.weight"] {
        Model::new().without_tensor(name).refused_as_invalid(&format!(
            "tensor `{name}` is missing: the file is incomplete or of another architecture than \
             its metadata say"
        ));
    }
    // A block that the metadata promise.
    Model::new().set("llama.block_count", 2).refused_as_invalid(
        "tensor `blk.1.attn_q.weight` is missing: the file is incomplete or of another \
         architecture than its metadata say",
    );
}

#[test]
fn refuses_shapes_that_the_metadata_do_not_promise() {
    let f32 = TensorType::F32;
    for (name, shape, promised) in [
        ("blk.0.attn_k.weight", &[16, 16][..], "[16, 8]"),
        ("blk.0.ffn_down.weight", &[16, 24], "[24, 16]"),
        ("blk.0.ffn_norm.weight", &[16, 2], "[16]"),
        ("blk.0.attn_q.weight", &[16, 16, 2], "[16, 16]"),
        ("output.weight", &[16, 9], "[16, 10]"),
        ("rope_freqs.weight", &[4], "[2]"),
    ] {
        Model::new().tensor(name, shape, f32).refused_as_invalid(&format!(
            "tensor `{name}` has the shape {shape:?}: the metadata promise {promised}"
        ));
    }
    Model::new().tensor("token_embd.weight", &[160], f32).refused_as_invalid(
        "tensor `token_embd.weight` has the shape [160]: expected [embedding length, vocabulary]",
    );
    let shape = [1, 5_000_000];
    Model::new().tensor("token_embd.weight", &shape, TensorType::I8).refused_as_invalid(
        "tensor `token_embd.weight` has 5000000 rows: expected 1 to 4194304, one for each token",
    );
}

#[test]
fn refuses_types_without_a_kernel_by_tensor() {
    Model::new().tensor("blk.0.ffn_up.weight", &[16, 24], TensorType::I8).refused_as_unsupported(
        "tensor `blk.0.ffn_up.weight` of type I8; this engine computes matrices of types F32, \
         F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4",
    );
    Model::new().tensor("output_norm.weight", &[16], TensorType::F16).refused_as_unsupported(
        "tensor `output_norm.weight` of type F16; this engine computes vectors of type F32",
    );
}

#[test]
fn refuses_tensors_that_the_architecture_does_not_have() {
    Model::new()
        .tensor("blk.0.attn_q_norm.weight", &[4], TensorType::F32)
        .tensor("blk.0.attn_k_norm.weight", &[4], TensorType::F32)
        .refused_as_unsupported(
            "tensor `blk.0.attn_q_norm.weight` and 1 more: architecture `llama` with 1 blocks has none \
             of that name, so that leaving it out would compute another model",
        );
    let of_old_converters =
        Model::new().tensor("blk.0.attn_rot_embd.weight", &[2], TensorType::F32);
    assert!(of_old_converters.load(OPTIONS).is_ok());
}

#[test]
fn refuses_experts_that_contradict_each_other() {
    let mixture =
        |used: u32| Model::new().set("llama.expert_count", 4).set("llama.expert_used_count", used);
    mixture(5).refused_as_invalid(
        "key `llama.expert_used_count` is 5: expected a whole number from 1 to 4",
    );
    mixture(0).refused_as_invalid(
        "key `llama.expert_used_count` is 0: expected a whole number from 1 to 4",
    );
    mixture(2).refused_as_invalid(
        "tensor `blk.0.ffn_gate_inp.weight` is missing: the file is incomplete or of another \
         architecture than its metadata say",
    );
    mixture(2)
        .tensor("blk.0.ffn_gate_inp.weight", &[16, 4], TensorType::F32)
        .tensor("blk.0.ffn_gate_exps.weight", &[16, 24, 3], TensorType::F32)
        .refused_as_invalid(
            "tensor `blk.0.ffn_gate_exps.weight` has the shape [16, 24, 3]: the metadata promise \
             [16, 24, 4]",
        );
    let error = Model::of("qwen3moe").refused();
    assert!(error.to_string().contains("`qwen3moe.expert_count`"), "{error}");
    Model::new().set("llama.expert_count", u32::MAX).refused_as_invalid(
        "key `llama.expert_count` is 4294967295: expected a whole number from 0 to 1024",
    );
}

#[test]
fn refuses_patterns_of_windows_of_another_length() {
    Model::of("gemma2")
        .set("gemma2.attention.sliding_window", 8)
        .set("gemma2.attention.sliding_window_pattern", Array::Bool(vec![true, false]))
        .refused_as_invalid(
            "key `gemma2.attention.sliding_window_pattern` is an array of 2: expected a whole \
             number, or 1 booleans, one for each block",
        );
    // A window of no tokens is none.
    let llama = Model::new().set("llama.attention.sliding_window", 0).load(OPTIONS);
    assert_eq!(llama.expect("a model that loads").config().has_window, [false]);
}

#[test]
fn refuses_tensors_that_an_architecture_must_have() {
    for (architecture, tensor) in [
        ("qwen2", "blk.0.attn_q.bias"),
        ("qwen3", "blk.0.attn_q_norm.weight"),
        ("gemma2", "blk.0.post_attention_norm.weight"),
        ("phi3", "blk.0.attn_qkv.weight"),
    ] {
        Model::of(architecture).refused_as_invalid(&format!(
            "tensor `{tensor}` is missing: the file is incomplete or of another architecture than \
             its metadata say"
        ));
    }
}

#[test]
fn refuses_rope_factors_that_are_not_positive() {
    // The test's tensors hold zeros.
    Model::new().tensor("rope_freqs.weight", &[2], TensorType::F32).refused_as_invalid(
        "tensor `rope_freqs.weight` holds 0 at index 0: expected a positive number",
    );
}

#[test]
fn refuses_options_outside_the_model() {
    for (context_tokens, sequences_max, key, value, expected) in [
        (33, 1, "context-tokens", "33", "at most 32, which the model was trained for"),
        (0, 0, "sequences-max", "0", "a whole number from 1 to 256"),
        (0, 257, "sequences-max", "257", "a whole number from 1 to 256"),
    ] {
        let refused = Model::new().load(Options {
            context_tokens,
            sequences_max,
            kv_cache_type: CacheType::F16,
        });
        let error = Error::InvalidSetting {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        assert_eq!(refused.err(), Some(error));
    }
}

#[test]
fn reports_a_source_that_fails_with_tensor_and_offset() {
    struct Failing(Vec<u8>, u64);
    impl trefoil_gguf::Source for Failing {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
            if offset >= self.1 {
                Err("the server is gone".to_owned())
            } else {
                self.0.read_at(offset, buffer)
            }
        }
    }
    let file = Model::new().file();
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let offset = gguf.tensor("blk.0.ffn_up.weight").expect("a tensor").offset;
    let error = Decoder::load(&gguf, &Failing(file, offset), OPTIONS).err();
    let message = format!("tensor `blk.0.ffn_up.weight` at byte {offset}: the server is gone");
    assert_eq!(error, Some(Error::Io(message)));
}
