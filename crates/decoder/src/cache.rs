//! The KV cache: keys and values of each sequence's tokens.
#![allow(missing_docs)]
use crate::config::Config;
use crate::provisional::KvCache;
use trefoil_contract::Result;
pub(crate) struct Cache {
    lengths: Vec<u32>,
    layers: Vec<Vec<KvCache>>,
    heads: usize,
}
pub(crate) struct Layer<'a>(&'a mut KvCache, usize);
impl Layer<'_> {
    pub(crate) fn append(&mut self, k: &[f32], v: &[f32]) {
        self.0.append(k, v)
    }
    pub(crate) fn attend(&mut self, q: &[f32], out: &mut [f32]) {
        self.0.attend(q, self.1, out)
    }
}
impl Cache {
    pub(crate) fn new(c: &Config, n: usize) -> Cache {
        let l =
            vec![KvCache { kv: c.kv_heads, head: c.head_length, ..Default::default() }; c.blocks];
        Cache { lengths: vec![0; n], layers: vec![l; n], heads: c.query_length() }
    }
    pub(crate) fn cached_tokens(&self) -> &[u32] {
        &self.lengths
    }
    pub(crate) fn truncate(&mut self, s: usize, t: u32) {
        if let Some(l) = self.lengths.get_mut(s) {
            *l = (*l).min(t);
            for c in &mut self.layers[s] {
                let w = c.kv * c.head * *l as usize;
                c.k.truncate(w);
                c.v.truncate(w);
            }
        }
    }
    pub(crate) fn reserve(&mut self, _s: usize, _t: usize) -> Result<()> {
        Ok(())
    }
    pub(crate) fn keep(&mut self, s: usize, t: usize) {
        self.lengths[s] += t as u32;
    }
    pub(crate) fn layer(&mut self, s: usize, b: usize) -> Layer<'_> {
        Layer(&mut self.layers[s][b], self.heads)
    }
    pub(crate) fn bytes(&self) -> u64 {
        0
    }
}
