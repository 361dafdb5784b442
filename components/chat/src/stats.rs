use std::time::{Duration, Instant};

use crate::bindings::trefoil::llm::inference::Usage;

/// Speed of the whole run, reported at its end.
pub(crate) struct Stats {
    wanted: bool,
    begin: Instant,
    load: Duration,
    /// From the app's start to the first token of the first answer.
    first_token: Option<Duration>,
    turn: Instant,
    turn_first_token: Option<Instant>,
    prefill: Duration,
    decode: Duration,
    prompt_tokens: u32,
    cached_tokens: u32,
    generated_tokens: u32,
    /// Tokens that came after the first of their answer, during `decode`.
    decoded_tokens: u32,
}

impl Stats {
    pub(crate) fn new(wanted: bool) -> Stats {
        let now = Instant::now();
        Stats {
            wanted,
            begin: now,
            load: Duration::ZERO,
            first_token: None,
            turn: now,
            turn_first_token: None,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
            prompt_tokens: 0,
            cached_tokens: 0,
            generated_tokens: 0,
            decoded_tokens: 0,
        }
    }

    pub(crate) fn loaded(&mut self) {
        self.load = self.begin.elapsed();
    }

    pub(crate) fn started(&mut self) {
        self.turn = Instant::now();
        self.turn_first_token = None;
    }

    pub(crate) fn token(&mut self) {
        if self.turn_first_token.is_none() {
            self.turn_first_token = Some(Instant::now());
            self.prefill += self.turn.elapsed();
            self.first_token.get_or_insert_with(|| self.begin.elapsed());
        }
    }

    pub(crate) fn done(&mut self, usage: &Usage) {
        self.prompt_tokens += usage.prompt_tokens;
        self.cached_tokens += usage.cached_tokens;
        self.generated_tokens += usage.generated_tokens;
        if let Some(first) = self.turn_first_token {
            self.decode += first.elapsed();
            self.decoded_tokens += usage.generated_tokens.saturating_sub(1);
        }
    }

    pub(crate) fn report(&self) {
        if !self.wanted {
            return;
        }
        let rate = |tokens: u32, time: Duration| match time.as_secs_f64() {
            0.0 => 0.0,
            seconds => f64::from(tokens) / seconds,
        };
        let computed = self.prompt_tokens - self.cached_tokens;
        eprintln!("load               {:9.1} ms", self.load.as_secs_f64() * 1e3);
        if let Some(first_token) = self.first_token {
            eprintln!("time to first token{:9.1} ms", first_token.as_secs_f64() * 1e3);
        }
        eprintln!(
            "prompt             {computed:9} tokens, {:.1} tokens/s ({} more from the cache)",
            rate(computed, self.prefill),
            self.cached_tokens,
        );
        eprintln!(
            "generated          {:9} tokens, {:.1} tokens/s",
            self.generated_tokens,
            rate(self.decoded_tokens, self.decode),
        );
    }
}
