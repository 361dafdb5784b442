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

    /// Merges what the symbols of one word (`scratch.push`) become, appends the tokens to `tokens`
    /// and empties the word. Always the pair with the lowest rank first, of equal ones the leftmost.
    pub(crate) fn apply(&self, scratch: &mut Word, tokens: &mut Vec<u32>) {
        let Word { symbols, pairs, .. } = scratch;
        pairs.clear();
        for left in 0..symbols.len().saturating_sub(1) {
            self.propose(symbols, left, pairs);
        }
        while let Some(Reverse(pair)) = pairs.pop() {
            #[cfg(test)]
            {
                scratch.steps += 1;
            }
            let Some(left) = symbols.get(pair.left).copied() else { continue };
            let Some(right) = symbols.get(left.next).copied() else { continue };
            // A symbol that was merged away holds no token; one that has grown holds another.
            if left.token != pair.tokens.0 || right.token != pair.tokens.1 {
                continue;
            }
            if let Some(symbol) = symbols.get_mut(left.next) {
                symbol.token = GONE;
            }
            if let Some(symbol) = symbols.get_mut(right.next) {
                symbol.previous = pair.left;
            }
            if let Some(symbol) = symbols.get_mut(pair.left) {
                symbol.token = pair.merged;
                symbol.next = right.next;
            }
            self.propose(symbols, left.previous, pairs);
            self.propose(symbols, pair.left, pairs);
        }
        let kept = symbols.iter().map(|symbol| symbol.token);
        tokens.extend(kept.filter(|&token| token != GONE && token != NO_TOKEN));
        symbols.clear();
    }

    /// Queues the pair that begins at `left`, if there is one and it merges.
    fn propose(&self, symbols: &[Symbol], left: usize, pairs: &mut BinaryHeap<Reverse<Pair>>) {
        let Some(first) = symbols.get(left) else { return };
        let Some(second) = symbols.get(first.next) else { return };
        if let Some(Merge { rank, merged, .. }) = self.find(first.token, second.token) {
            let tokens = (first.token, second.token);
            pairs.push(Reverse(Pair { rank, left, tokens, merged }));
        }
    }
}

/// A symbol that was merged into its left neighbour. Like [`NO_TOKEN`] beyond any vocabulary.
const GONE: u32 = u32::MAX - 1;

/// No neighbour.
const NONE: usize = usize::MAX;

/// A word while it is being merged; reused from word to word.
#[derive(Debug, Default)]
pub(crate) struct Word {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Reverse<Pair>>,
    /// Pairs taken from the queue so far: the measure of work.
    #[cfg(test)]
    pub(crate) steps: usize,
}

impl Word {
    /// Sets the word's symbols.
    pub(crate) fn set(&mut self, tokens: impl ExactSizeIterator<Item = u32>) {
        let count = tokens.len();
        self.symbols.clear();
        self.symbols.extend(tokens.enumerate().map(|(place, token)| Symbol {
            token,
            previous: place.checked_sub(1).unwrap_or(NONE),
            next: if place + 1 < count { place + 1 } else { NONE },
        }));
    }
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    token: u32,
    previous: usize,
    next: usize,
}

/// A merge that was possible when it was queued. The order of the fields is that of the queue.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    left: usize,
    tokens: (u32, u32),
    merged: u32,
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
        let (mut word, mut tokens) = (Word::default(), Vec::new());
        word.set(symbols.iter().copied());
        merges.apply(&mut word, &mut tokens);
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
            let (mut word, mut tokens) = (Word::default(), Vec::new());
            word.set(vec![1; length].into_iter());
            merges.apply(&mut word, &mut tokens);
            assert_eq!(tokens.iter().map(|token| 1 << (token - 1)).sum::<usize>(), length);
            word.steps
        };
        // Each symbol proposes once, each of fewer merges than symbols twice more.
        for length in [1000, 100_000] {
            assert!(steps(length) <= 3 * length);
        }
    }
}
