//! Which part of a model each instance holds and computes.

use std::ops::Range;

use crate::config::Config;

/// Rows that the kernels lay side by side. Shares are whole groups, so that none is padded but the
/// last one.
const GROUP_ROWS: usize = 16;

/// One dimension, cut into a range for each instance. Ranges may be empty: there may be more
/// instances than groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the ranges begin, and where the last ends.
    edges: Vec<usize>,
    rank: usize,
}

impl Cut {
    /// Cuts `length` between units. What does not come out even goes to later ranks: rank 0 also
    /// samples and runs the app.
    fn new(length: usize, unit: usize, rank: usize, size: usize) -> Cut {
        let units = length.div_ceil(unit);
        let edges = (0..=size).map(|rank| (units * rank / size * unit).min(length)).collect();
        Cut { edges, rank }
    }

    /// The same cut where each element has become `factor` elements.
    fn scaled(&self, factor: usize) -> Cut {
        let edges = self.edges.iter().map(|edge| edge * factor).collect();
        Cut { edges, rank: self.rank }
    }

    /// Elements of all instances together.
    pub(crate) fn length(&self) -> usize {
        self.edges[self.edges.len() - 1]
    }

    /// What this instance holds.
    pub(crate) fn own(&self) -> Range<usize> {
        self.edges[self.rank]..self.edges[self.rank + 1]
    }

    /// What each instance holds, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.edges.windows(2).map(|edges| edges[0]..edges[1])
    }

    /// The instance that holds an element.
    pub(crate) fn owner(&self, index: usize) -> usize {
        // Empty ranges end where they begin, so that the last edge at or below is the holder's.
        self.edges.partition_point(|edge| *edge <= index) - 1
    }
}

/// How a model's rows and heads are shared.
///
/// Every product gives whole output rows, and attention whole query heads. The instance that holds
/// them computes them as a single instance would, so that the number of instances changes no bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Elements of the query heads. Heads, not KV heads, are shared evenly: an instance also holds
    /// the KV heads that its query heads need, which another may hold as well.
    pub(crate) query: Cut,
    /// Rows that make a token's vector.
    pub(crate) embedding: Cut,
    /// Rows that make the vector inside a feed-forward network.
    pub(crate) feed_forward: Cut,
    /// Rows that make the vector inside an expert.
    pub(crate) expert: Cut,
    /// Rows of the embedding and of the output matrix.
    pub(crate) vocabulary: Cut,
    /// Rows of keys and values.
    pub(crate) kv: Range<usize>,
    /// For each KV head held, how many of the own query heads it serves.
    pub(crate) groups: Vec<usize>,
}

impl Partition {
    /// Whether this is rank 0.
    pub(crate) fn is_first(&self) -> bool {
        self.query.rank == 0
    }

    /// The share of instance `rank` of `size`.
    pub(crate) fn new(config: &Config, rank: usize, size: usize) -> Partition {
        let rows = |length| Cut::new(length, GROUP_ROWS, rank, size);
        let heads = Cut::new(config.heads, 1, rank, size);
        let group = config.heads / config.kv_heads;
        let kv_heads = match heads.own() {
            own if own.is_empty() => 0..0,
            own => own.start / group..own.end.div_ceil(group),
        };
        let served = |kv_head: usize| {
            let queries = kv_head * group..(kv_head + 1) * group;
            queries.end.min(heads.own().end) - queries.start.max(heads.own().start)
        };
        Partition {
            query: heads.scaled(config.head_length),
            embedding: rows(config.embedding_length),
            feed_forward: rows(config.feed_forward_length),
            expert: rows(config.experts.map_or(0, |experts| experts.feed_forward_length)),
            vocabulary: rows(config.vocabulary_tokens),
            groups: kv_heads.clone().map(served).collect(),
            kv: kv_heads.start * config.head_length..kv_heads.end * config.head_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_groups_that_cover_everything() {
        for length in [1, 15, 16, 17, 160, 263, 576, 49_152] {
            for size in 1..=7 {
                let cuts: Vec<_> =
                    (0..size).map(|rank| Cut::new(length, GROUP_ROWS, rank, size)).collect();
                let own: Vec<_> = cuts.iter().map(Cut::own).collect();
                assert!(own.iter().cloned().eq(cuts[0].ranges()));
                assert_eq!(own.iter().cloned().flatten().collect::<Vec<_>>(), {
                    (0..length).collect::<Vec<_>>()
                });
                for (rank, range) in own.iter().enumerate() {
                    assert!(range.is_empty() || range.start.is_multiple_of(GROUP_ROWS));
                    assert!(range.clone().all(|index| cuts[0].owner(index) == rank));
                }
                let groups: Vec<_> = own.iter().map(|range| range.len().div_ceil(16)).collect();
                let (min, max) = (groups.iter().min(), groups.iter().max());
                assert!(max.zip(min).is_some_and(|(max, min)| max - min <= 1), "{groups:?}");
            }
        }
    }
}
