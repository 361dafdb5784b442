//! What the examples measure with.

use trefoil_kernels::{Matrix, Scoring, WeightsType};

/// Of heads of 64 elements.
pub(crate) const SCORING: Scoring = Scoring { scale: 0.125, soft_cap: 0.0 };

/// xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From -1 to 1.
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// Random weights of a size that keeps sums in range, as GGUF has them.
    pub(crate) fn gguf(&mut self, weights_type: WeightsType, count: usize) -> Vec<u8> {
        let blocks = count / weights_type.block_columns();
        let mut gguf = vec![0; blocks * weights_type.block_bytes()];
        for bytes in gguf.as_chunks_mut::<8>().0 {
            *bytes = self.next().to_le_bytes();
        }
        for block in gguf.chunks_mut(weights_type.block_bytes()) {
            match weights_type {
                WeightsType::F32 => block[3] = 0x3c | block[3] & 0x80,
                WeightsType::F16 => block[1] = 0x20 | block[1] & 0x83,
                WeightsType::BF16 => block[1] = 0x3c | block[1] & 0x80,
                WeightsType::MXFP4 => block[0] = 120,
                WeightsType::Q2_K => (block[81], block[83]) = (0x18, 0x18),
                WeightsType::Q3_K => block[109] = 0x08,
                WeightsType::IQ4_XS => block[1] = 0x08,
                WeightsType::Q4_1 => (block[1], block[3]) = (0x20, 0xa8),
                WeightsType::Q5_1 => (block[1], block[3]) = (0x1c, 0xa8),
                WeightsType::Q4_K => (block[1], block[3]) = (0x0c, 0x1c),
                WeightsType::Q5_K => (block[1], block[3]) = (0x08, 0x1c),
                WeightsType::Q6_K => block[209] = 0x08,
                WeightsType::Q4_0 | WeightsType::Q5_0 | WeightsType::Q8_0 | WeightsType::IQ4_NL => {
                    block[1] = 0x20;
                }
            }
        }
        gguf
    }

    pub(crate) fn matrix(
        &mut self,
        weights_type: WeightsType,
        rows: usize,
        columns: usize,
    ) -> Matrix {
        let mut builder = Matrix::builder(weights_type, rows, columns).expect("enough memory");
        builder.push(&self.gguf(weights_type, rows * columns));
        builder.finish()
    }
}
