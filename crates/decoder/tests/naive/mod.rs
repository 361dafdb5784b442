//! The llama architecture once more, in f64, token by token, straight from the formulas and
//! without kernels: what the decoder is compared with.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::HashMap;

use trefoil_gguf::{Gguf, Tensor, TensorType};

pub struct Naive {
    gguf: Gguf,
    tensors: HashMap<String, Vec<f64>>,
}

impl Naive {
    pub fn new(file: &[u8]) -> Self {
        let gguf = Gguf::read(&file).expect("a well-formed file");
        let widen = |tensor: &Tensor| {
            let start = tensor.offset as usize;
            let bytes = &file[start..start + tensor.size as usize];
            (tensor.name.clone(), dequantise(tensor.tensor_type, bytes))
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
    pub fn logits(&self, tokens: &[u32]) -> Vec<Vec<f64>> {
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

/// Widens by the definitions of the block formats (ggml-common.h): per 32 elements a scale `d` as
/// f16, for Q4_1 a minimum `m` as f16; 4-bit elements hold the first 16 in their low halves.
fn dequantise(tensor_type: TensorType, bytes: &[u8]) -> Vec<f64> {
    let f16_at = |block: &[u8], at: usize| f16(u16::from_le_bytes([block[at], block[at + 1]]));
    let nibbles = |bytes: &[u8]| -> Vec<f64> {
        let low = bytes.iter().map(|byte| f64::from(byte & 15));
        low.chain(bytes.iter().map(|byte| f64::from(byte >> 4))).collect()
    };
    match tensor_type {
        TensorType::F32 => bytes
            .chunks(4)
            .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().expect("4 bytes"))))
            .collect(),
        TensorType::F16 => bytes.chunks(2).map(|bytes| f16_at(bytes, 0)).collect(),
        TensorType::Q4_0 => bytes
            .chunks(18)
            .flat_map(|block| {
                let d = f16_at(block, 0);
                nibbles(&block[2..]).into_iter().map(move |q| (q - 8.0) * d)
            })
            .collect(),
        TensorType::Q4_1 => bytes
            .chunks(20)
            .flat_map(|block| {
                let (d, m) = (f16_at(block, 0), f16_at(block, 2));
                nibbles(&block[4..]).into_iter().map(move |q| q * d + m)
            })
            .collect(),
        TensorType::Q8_0 => bytes
            .chunks(34)
            .flat_map(|block| {
                let d = f16_at(block, 0);
                block[2..].iter().map(move |q| f64::from(*q as i8) * d)
            })
            .collect(),
        other => panic!("no fixture has {other:?}"),
    }
}

/// IEEE 754 binary16.
fn f16(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 => panic!("a fixture holds infinity or NaN"),
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}
