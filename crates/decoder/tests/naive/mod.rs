//! The llama architecture once more, in f64, token by token, straight from the formulas and
//! without kernels: what the decoder is compared with.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::HashMap;

use trefoil_fixtures::dequantise;
use trefoil_gguf::{Gguf, Tensor};

pub(crate) struct Naive {
    gguf: Gguf,
    tensors: HashMap<String, Vec<f64>>,
}

impl Naive {
    pub(crate) fn new(file: &[u8]) -> Self {
        let gguf = Gguf::read(&file).expect("a well-formed file");
        let widen = |tensor: &Tensor| {
            let start = tensor.offset as usize;
            let bytes = &file[start..start + tensor.size as usize];
            let numbers = dequantise(tensor.tensor_type, bytes).into_iter();
            (tensor.name.clone(), numbers.map(f64::from).collect())
        };
        let tensors = gguf.tensors.iter().map(widen).collect();
        Naive { gguf, tensors }
    }

    fn integer(&self, key: &str) -> usize {
        let value = self.gguf.metadata.u32(&format!("llama.{key}")).expect("an integer");
        value.unwrap_or_else(|| panic!("no key llama.{key}")) as usize
    }

    fn float(&self, key: &str, default: f64) -> f64 {
        let value = self.gguf.metadata.f32(&format!("llama.{key}")).expect("a float");
        value.map_or(default, f64::from)
    }

    fn product(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let rows = self.tensors[name].chunks(x.len());
        rows.map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let epsilon = self.float("attention.layer_norm_rms_epsilon", f64::NAN);
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + epsilon).sqrt();
        x.iter().zip(&self.tensors[name]).map(|(x, weight)| x * scale * weight).collect()
    }

    fn rope(&self, x: &mut [f64], head_length: usize, position: usize) {
        let length = match self.gguf.metadata.u32("llama.rope.dimension_count") {
            Ok(Some(length)) => length as usize,
            _ => head_length,
        };
        let base = self.float("rope.freq_base", 10_000.0);
        let scaled = position as f64 / self.float("rope.scaling.factor", 1.0);
        for head in x.chunks_mut(head_length) {
            for pair in 0..length / 2 {
                let mut angle = scaled * base.powf(-2.0 * pair as f64 / length as f64);
                if let Some(factors) = self.tensors.get("rope_freqs.weight") {
                    angle /= factors[pair];
                }
                let (a, b) = (head[2 * pair], head[2 * pair + 1]);
                head[2 * pair] = a * angle.cos() - b * angle.sin();
                head[2 * pair + 1] = a * angle.sin() + b * angle.cos();
            }
        }
    }

    /// Logits behind each token of a sequence.
    pub(crate) fn logits(&self, tokens: &[u32]) -> Vec<Vec<f64>> {
        let embedding = self.integer("embedding_length");
        let heads = self.integer("attention.head_count");
        let kv_heads = self.integer("attention.head_count_kv");
        let head_length = self.tensors["blk.0.attn_q.weight"].len() / embedding / heads;
        let mut stream: Vec<Vec<f64>> = Vec::new();
        for &token in tokens {
            let start = token as usize * embedding;
            stream.push(self.tensors["token_embd.weight"][start..start + embedding].to_vec());
        }
        for block in 0..self.integer("block_count") {
            let name = |part: &str| format!("blk.{block}.{part}.weight");
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (position, x) in stream.iter_mut().enumerate() {
                let normed = self.norm(&name("attn_norm"), x);
                let mut query = self.product(&name("attn_q"), &normed);
                let mut key = self.product(&name("attn_k"), &normed);
                self.rope(&mut query, head_length, position);
                self.rope(&mut key, head_length, position);
                keys.push(key);
                values.push(self.product(&name("attn_v"), &normed));
                let mut attended = Vec::new();
                for (head, query) in query.chunks(head_length).enumerate() {
                    let start = head / (heads / kv_heads) * head_length;
                    let part = start..start + head_length;
                    let dot = |key: &Vec<f64>| {
                        let dot = key[part.clone()].iter().zip(query).map(|(a, b)| a * b);
                        (dot.sum::<f64>() / (head_length as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = keys.iter().map(dot).collect();
                    let sum: f64 = weights.iter().sum();
                    for element in part.clone() {
                        let of = weights.iter().zip(&values).map(|(w, value)| w * value[element]);
                        attended.push(of.sum::<f64>() / sum);
                    }
                }
                add(x, &self.product(&name("attn_output"), &attended));
                let normed = self.norm(&name("ffn_norm"), x);
                let gate = self.product(&name("ffn_gate"), &normed);
                let up = self.product(&name("ffn_up"), &normed);
                let silu = gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up);
                add(x, &self.product(&name("ffn_down"), &silu.collect::<Vec<_>>()));
            }
        }
        let output = if self.tensors.contains_key("output.weight") {
            "output.weight"
        } else {
            "token_embd.weight"
        };
        stream.iter().map(|x| self.product(output, &self.norm("output_norm.weight", x))).collect()
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
