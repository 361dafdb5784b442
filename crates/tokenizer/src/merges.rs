//! Merges of byte-pair encoding, and applying them to a word.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, TryReserveError};

/// A symbol without a token: a byte that the vocabulary lacks. It merges with nothing.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// What two neighbours become.
#[derive(Debug, Clone, Copy)]
struct Merge {
    right: u32,
    /// Its place in the file's list; lower ranks come first.
    rank: u32,
    merged: u32,
}

/// All merges, grouped by their left token and sorted by their right one. A search in the group
/// costs a logarithm for any choice of tokens, which a hash table without randomness cannot promise.
#[derive(Debug, Default)]
pub(crate) struct Merges {
    merges: Vec<Merge>,
    /// Where the group of each left token begins; one more for the end.
    groups: Vec<u32>,
}

/// Two tokens that become a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) left: u32,
    pub(crate) right: u32,
    pub(crate) rank: u32,
    pub(crate) merged: u32,
}

impl Merges {
    /// Orders the rules. Of two rules for the same pair the one with the lower rank counts, as in
    /// llama.cpp. `tokens` is the size of the vocabulary; rules name no tokens beyond it.
    pub(crate) fn new(mut rules: Vec<Rule>, tokens: usize) -> Result<Self, TryReserveError> {
        rules.sort_unstable();
        rules.dedup_by_key(|rule| (rule.left, rule.right));
        let mut table = Merges::default();
        table.groups.try_reserve_exact(tokens.saturating_add(1))?;
        table.merges.try_reserve_exact(rules.len())?;
        for (place, rule) in (0_u32..).zip(&rules) {
            while table.groups.len() <= rule.left as usize {
                table.groups.push(place);
            }
            let &Rule { right, rank, merged, .. } = rule;
            table.merges.push(Merge { right, rank, merged });
        }
        // Ranks are `u32`, so the number of rules is one too.
        table.groups.resize(tokens.saturating_add(1), rules.len() as u32);
        Ok(table)
    }

    fn find(&self, left: u32, right: u32) -> Option<Merge> {
        let left = usize::try_from(left).ok()?;
        let start = *self.groups.get(left)?;
        let end = *self.groups.get(left.checked_add(1)?)?;
        let group = self.merges.get(start as usize..end as usize)?;
        let place = group.binary_search_by_key(&right, |merge| merge.right).ok()?;
        group.get(place).copied()
    }

    /// Appends the tokens of one word, which is at most [`WORD_SYMBOLS_MAX`] long, to `tokens`.
    /// Always the pair with the lowest rank is merged first, of equal ones the leftmost.
    pub(crate) fn apply(
        &self,
        word: impl ExactSizeIterator<Item = u32>,
        scratch: &mut Scratch,
        tokens: &mut Vec<u32>,
    ) {
        let Scratch { symbols, pairs, .. } = scratch;
        debug_assert!(word.len() <= WORD_SYMBOLS_MAX);
        symbols.clear();
        symbols.extend((0..).zip(word).map(|(place, token)| Symbol {
            token,
            // The first has no neighbour there: `u32::MAX` is beyond any word.
            previous: u32::wrapping_sub(place, 1),
            next: place + 1,
        }));

        let mut possible = std::mem::take(pairs).into_vec();
        possible.clear();
        possible.extend((0..symbols.len() as u32).filter_map(|left| self.pair(symbols, left)));
        *pairs = BinaryHeap::from(possible);

        while let Some(Reverse(pair)) = pairs.pop() {
            #[cfg(test)]
            {
                scratch.steps += 1;
            }
            let place = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
            let Some(left) = symbols.get(place(pair.left)).copied() else { continue };
            let Some(right) = symbols.get(place(left.next)).copied() else { continue };
            // What stands there now may be another pair, or nothing. Ranks are unique.
            let Some(merge) = self.find(left.token, right.token) else { continue };
            if merge.rank != pair.rank {
                continue;
            }
            if let Some(symbol) = symbols.get_mut(place(left.next)) {
                symbol.token = GONE;
            }
            if let Some(symbol) = symbols.get_mut(place(right.next)) {
                symbol.previous = pair.left;
            }
            if let Some(symbol) = symbols.get_mut(place(pair.left)) {
                symbol.token = merge.merged;
                symbol.next = right.next;
            }
            pairs.extend(self.pair(symbols, left.previous));
            pairs.extend(self.pair(symbols, pair.left));
        }
        let kept = symbols.iter().map(|symbol| symbol.token);
        tokens.extend(kept.filter(|&token| token != GONE && token != NO_TOKEN));
    }

    /// The pair that begins at `left`, if there is one and it merges.
    fn pair(&self, symbols: &[Symbol], left: u32) -> Option<Reverse<Pair>> {
        let first = symbols.get(usize::try_from(left).ok()?)?;
        let second = symbols.get(usize::try_from(first.next).ok()?)?;
        let Merge { rank, .. } = self.find(first.token, second.token)?;
        Some(Reverse(Pair { rank, left }))
    }
}

/// Longest word, in symbols: places in it are `u32`, and one is left over for the end.
pub(crate) const WORD_SYMBOLS_MAX: usize = 1 << 30;

/// A symbol that was merged into its left neighbour. Like [`NO_TOKEN`] beyond any vocabulary.
const GONE: u32 = u32::MAX - 1;

/// Memory for a word while it is merged; reused from word to word.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Reverse<Pair>>,
    /// Pairs taken from the queue so far: the measure of work.
    #[cfg(test)]
    steps: usize,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    token: u32,
    /// Places of the neighbours; beyond the word where there is none.
    previous: u32,
    next: u32,
}

/// A merge that was possible when it was queued. The order of the fields is that of the queue.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    left: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges `pairs` (left, right, merged), ranked in order.
    fn merges(pairs: &[(u32, u32, u32)]) -> Merges {
        let rules = (0..).zip(pairs);
        let rules = rules.map(|(rank, &(left, right, merged))| Rule { left, right, rank, merged });
        Merges::new(rules.collect(), 100).expect("is little")
    }

    fn apply(merges: &Merges, symbols: &[u32]) -> Vec<u32> {
        let mut tokens = Vec::new();
        merges.apply(symbols.iter().copied(), &mut Scratch::default(), &mut tokens);
        tokens
    }

    #[test]
    fn lower_ranks_come_first_and_of_equal_ones_the_leftmost() {
        let merges = merges(&[(2, 3, 10), (1, 2, 11), (1, 1, 12), (12, 12, 13)]);
        assert_eq!(apply(&merges, &[1, 2, 3]), [1, 10]);
        assert_eq!(apply(&merges, &[1, 2, 1]), [11, 1]);
        assert_eq!(apply(&merges, &[1, 1, 1]), [12, 1]);
        assert_eq!(apply(&merges, &[1; 7]), [13, 12, 1]);
        assert_eq!(apply(&merges, &[]), [0_u32; 0]);
    }

    #[test]
    fn of_two_rules_for_a_pair_the_first_counts() {
        assert_eq!(apply(&merges(&[(1, 2, 10), (1, 2, 11)]), &[1, 2]), [10]);
    }

    #[test]
    fn symbols_without_a_token_vanish_and_merge_with_nothing() {
        let merges = merges(&[(1, 2, 10)]);
        assert_eq!(apply(&merges, &[1, NO_TOKEN, 2, NO_TOKEN, NO_TOKEN]), [1, 2]);
    }

    #[test]
    fn a_rule_whose_result_is_one_of_its_parts_ends() {
        assert_eq!(apply(&merges(&[(1, 1, 1)]), &[1; 50]), [1]);
    }

    #[test]
    fn work_grows_with_the_word_not_with_its_square() {
        // 1 + 1 = 2, 2 + 2 = 3, ...: a word of equal letters merges at every level.
        let doubling: Vec<_> = (1..20).map(|token| (token, token, token + 1)).collect();
        let merges = merges(&doubling);
        let steps = |length: usize| {
            let (mut scratch, mut tokens) = (Scratch::default(), Vec::new());
            merges.apply(vec![1; length].into_iter(), &mut scratch, &mut tokens);
            assert_eq!(tokens.iter().map(|token| 1 << (token - 1)).sum::<usize>(), length);
            scratch.steps
        };
        // Each symbol proposes once, each of fewer merges than symbols twice more.
        for length in [1000, 100_000] {
            assert!(steps(length) <= 3 * length);
        }
    }
}
