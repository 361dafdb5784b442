//! Stands in for the kernels until they are there.
#![allow(missing_docs, clippy::all, dead_code, unreachable_pub)]
pub use trefoil_kernels::WeightsType;
pub struct OutOfMemory(pub usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    Neighbours,
    Halves,
}
pub struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f32>,
}
pub struct MatrixBuilder {
    t: WeightsType,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}
fn f16(b: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([b[0], b[1]]);
    let s = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (e, f) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    if e == 0 { s * f * 2f32.powi(-24) } else { s * (1.0 + f / 1024.0) * 2f32.powi(e - 15) }
}
impl Matrix {
    pub fn builder(
        t: WeightsType,
        rows: usize,
        columns: usize,
    ) -> Result<MatrixBuilder, OutOfMemory> {
        Ok(MatrixBuilder { t, rows, columns, bytes: vec![] })
    }
    pub fn bytes(&self) -> usize {
        self.data.len() * 4
    }
    pub fn row(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.data[row * self.columns..][..self.columns]);
    }
    pub fn multiply(&self, a: &Activations, out: &mut [f32]) {
        for (x, out) in a.0.chunks(self.columns).zip(out.chunks_mut(self.rows)) {
            for (row, out) in self.data.chunks(self.columns).zip(out) {
                let mut acc = [0f32; 8];
                for (a, b) in row.chunks(8).zip(x.chunks(8)) {
                    for i in 0..a.len() {
                        acc[i] += a[i] * b[i];
                    }
                }
                *out = acc.iter().sum();
            }
        }
    }
}
impl MatrixBuilder {
    pub fn push(&mut self, b: &[u8]) {
        self.bytes.extend_from_slice(b);
    }
    pub fn finish(self) -> Matrix {
        let b = &self.bytes;
        let data: Vec<f32> = match self.t {
            WeightsType::F32 => {
                b.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap_or_default())).collect()
            }
            WeightsType::F16 => b.chunks(2).map(f16).collect(),
            WeightsType::Q8_0 => b
                .chunks(34)
                .flat_map(|b| {
                    let d = f16(b);
                    b[2..].iter().map(move |q| d * f32::from(*q as i8))
                })
                .collect(),
            WeightsType::Q4_0 => b
                .chunks(18)
                .flat_map(|b| {
                    let d = f16(b);
                    b[2..]
                        .iter()
                        .map(|q| q & 15)
                        .chain(b[2..].iter().map(|q| q >> 4))
                        .map(move |q| d * (f32::from(q) - 8.0))
                })
                .collect(),
            WeightsType::Q4_1 => b
                .chunks(20)
                .flat_map(|b| {
                    let d = f16(b);
                    let m = f16(&b[2..]);
                    b[4..]
                        .iter()
                        .map(|q| q & 15)
                        .chain(b[4..].iter().map(|q| q >> 4))
                        .map(move |q| d * f32::from(q) + m)
                })
                .collect(),
        };
        assert_eq!(data.len(), self.rows * self.columns);
        Matrix { rows: self.rows, columns: self.columns, data }
    }
}
#[derive(Default)]
pub struct Activations(Vec<f32>);
impl Activations {
    pub fn prepare(&mut self, x: &[f32], _columns: usize) {
        self.0.clear();
        self.0.extend_from_slice(x);
    }
}
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    let m: f32 = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    let s = 1.0 / (m + eps).sqrt();
    for i in 0..x.len() {
        out[i] = x[i] * s * w[i];
    }
}
pub fn silu_multiply(g: &mut [f32], u: &[f32]) {
    for (g, u) in g.iter_mut().zip(u) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}
pub fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
pub fn rope(x: &mut [f32], head: usize, cos: &[f32], sin: &[f32], _p: RopePairs) {
    for h in x.chunks_mut(head) {
        for i in 0..cos.len() {
            let (a, b) = (h[2 * i], h[2 * i + 1]);
            h[2 * i] = a * cos[i] - b * sin[i];
            h[2 * i + 1] = a * sin[i] + b * cos[i];
        }
    }
}
#[derive(Default, Clone)]
pub struct KvCache {
    pub kv: usize,
    pub head: usize,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}
impl KvCache {
    pub fn append(&mut self, k: &[f32], v: &[f32]) {
        self.k.extend_from_slice(k);
        self.v.extend_from_slice(v);
    }
    pub fn attend(&self, q: &[f32], heads_len: usize, out: &mut [f32]) {
        let w = self.kv * self.head;
        let total = self.k.len() / w;
        let t = q.len() / heads_len;
        let g = heads_len / w;
        for i in 0..t {
            let n = total - t + i + 1;
            for h in 0..heads_len / self.head {
                let kvh = h / g;
                let qq = &q[i * heads_len + h * self.head..][..self.head];
                let mut s: Vec<f32> = (0..n)
                    .map(|j| {
                        (0..self.head)
                            .map(|d| qq[d] * self.k[j * w + kvh * self.head + d])
                            .sum::<f32>()
                            / (self.head as f32).sqrt()
                    })
                    .collect();
                let m = s.iter().cloned().fold(f32::MIN, f32::max);
                s.iter_mut().for_each(|s| *s = (*s - m).exp());
                let sum: f32 = s.iter().sum();
                for d in 0..self.head {
                    out[i * heads_len + h * self.head + d] =
                        (0..n).map(|j| s[j] * self.v[j * w + kvh * self.head + d]).sum::<f32>()
                            / sum;
                }
            }
        }
    }
}
