//! One vector for a text, made of its tokens' vectors.

use trefoil_contract::{Error, Result};

/// How the vectors of a text's tokens become one (`{arch}.pooling_type`, numbered as in llama.cpp's
/// `llama.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// 1: their mean.
    Mean,
    /// 2: the first one, that of `[CLS]`.
    Cls,
    /// 3: the last one.
    Last,
}

impl Pooling {
    /// All of them, as the setting `pooling` names them.
    pub const NAMES: [(&str, Pooling); 3] =
        [("mean", Pooling::Mean), ("cls", Pooling::Cls), ("last", Pooling::Last)];

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Pooling> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, pooling)| *pooling)
    }
}

/// Vectors of tokens on their way to one.
#[derive(Debug)]
pub(crate) struct Pool {
    pooling: Pooling,
    /// In double precision, so that long texts lose nothing.
    vector: Vec<f64>,
    rows: usize,
}

impl Pool {
    pub(crate) fn new(pooling: Pooling) -> Pool {
        Pool { pooling, vector: Vec::new(), rows: 0 }
    }

    /// Takes the next tokens' vectors, `count` of equal length.
    pub(crate) fn push(&mut self, vectors: &[f32], count: usize) {
        if count == 0 {
            return;
        }
        for row in vectors.chunks_exact((vectors.len() / count).max(1)) {
            match self.pooling {
                Pooling::Cls if self.rows > 0 => {}
                Pooling::Mean if self.rows > 0 => {
                    for (sum, x) in self.vector.iter_mut().zip(row) {
                        *sum += f64::from(*x);
                    }
                }
                _ => {
                    self.vector.clear();
                    self.vector.extend(row.iter().copied().map(f64::from));
                }
            }
            self.rows += 1;
        }
    }

    /// The vector as it is.
    pub(crate) fn raw(self) -> Vec<f32> {
        self.vector.into_iter().map(|x| x as f32).collect()
    }

    /// The vector, of length 1 in the sense of Euclid. One without a direction stays zero.
    ///
    /// # Errors
    /// `invalid-model` for vectors that are no numbers.
    pub(crate) fn finish(self) -> Result<Vec<f32>> {
        // The divisor of a mean changes no direction.
        let square: f64 = self.vector.iter().map(|x| x * x).sum();
        if !square.is_finite() {
            return Err(Error::InvalidModel(
                "the vectors of the text's tokens are no numbers; its weights are damaged".into(),
            ));
        }
        let factor = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
        Ok(self.vector.iter().map(|x| (x * factor) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(pooling: Pooling) -> Vec<f32> {
        let mut pool = Pool::new(pooling);
        pool.push(&[3.0, 4.0, 0.0, 2.0], 2);
        pool.push(&[], 0);
        pool.push(&[5.0, 0.0], 1);
        pool.finish().expect("numbers")
    }

    #[test]
    fn vectors_of_tokens_become_one_of_length_1() {
        assert_eq!(pooled(Pooling::Cls), [0.6, 0.8]);
        assert_eq!(pooled(Pooling::Last), [1.0, 0.0]);
        assert_eq!(pooled(Pooling::Mean), [0.8, 0.6]);
    }

    #[test]
    fn no_direction_stays_zero_and_no_number_is_an_error() {
        let mut pool = Pool::new(Pooling::Mean);
        pool.push(&[0.0, -0.0], 1);
        assert_eq!(pool.finish(), Ok(vec![0.0, 0.0]));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut pool = Pool::new(Pooling::Last);
            pool.push(&[1.0, bad], 1);
            assert!(matches!(pool.finish(), Err(Error::InvalidModel(_))));
        }
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for (name, pooling) in Pooling::NAMES {
            assert_eq!(Pooling::named(name), Some(pooling));
        }
        assert_eq!(Pooling::named("rank"), None);
    }
}
