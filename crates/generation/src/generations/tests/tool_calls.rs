//! Steps that bring reasoning and calls, with a forward pass that has each sequence say its line.

use trefoil_contract::{Delta, Error, Event, FinishReason, Result, ToolCallDelta};
use trefoil_settings::RequestSettings;

use super::super::{GenerationOptions, Generations};
use super::settings;
use crate::{AnswerForm, Forward, Logits, Span, ToolFormat, Vocabulary};

/// Tokens of the vocabulary; the first ends an answer, those in square brackets are special.
const TOKENS: [&str; 13] = [
    "</s>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[OTHER]",
    "<think>",
    "hm",
    "</think>",
    "\n",
    "f",
    "{\"a\"",
    ": 1}",
    "Well. ",
    "STOP",
];
const PROMPT: u32 = 7;

struct Lines(Vec<Vec<u32>>);

impl Forward for Lines {
    fn vocabulary_tokens(&self) -> usize {
        TOKENS.len()
    }

    fn context_tokens(&self) -> u32 {
        100
    }

    fn sequences_max(&self) -> usize {
        self.0.len()
    }

    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        for span in batch.iter().filter(|span| span.logits == Logits::Last) {
            // The prompt is one token.
            let place = span.position as usize + span.tokens.len() - 1;
            let start = logits.len();
            logits.resize(start + TOKENS.len(), 0.0);
            let line = &self.0[span.sequence];
            logits[start + line.get(place).map_or(0, |token| *token as usize)] = 50.0;
        }
        Ok(())
    }

    fn reusable(&self, _: usize, _: u32) -> u32 {
        0
    }

    fn truncate(&mut self, _: usize, _: u32) {}
}

struct Words;

impl Vocabulary for Words {
    fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        TOKENS.get(token as usize).map(|text| text.as_bytes())
    }

    fn is_special(&self, token: u32) -> bool {
        token == 0 || self.token_bytes(token).is_some_and(|bytes| bytes.starts_with(b"["))
    }

    fn ends_generation(&self, token: u32) -> bool {
        token == 0
    }
}

fn tokens(line: &[&str]) -> Vec<u32> {
    let token =
        |text: &&str| TOKENS.iter().position(|other| other == text).expect("a token") as u32;
    line.iter().map(token).collect()
}

fn options() -> GenerationOptions {
    let answer = AnswerForm {
        reasoning: Some(String::new()),
        tool_calls: Some((ToolFormat::Mistral, vec!["f".into()])),
    };
    GenerationOptions { answer, ..GenerationOptions::default() }
}

fn greedy() -> RequestSettings {
    settings(|settings| settings.temperature = 0.0)
}

/// The events of an answer, and how many steps computed something.
fn run(line: &[&str], settings: &RequestSettings, options: &GenerationOptions) -> Vec<Event> {
    let mut generations = Generations::new(Lines(vec![tokens(line)]), Words, 8);
    let id = generations.start(vec![PROMPT], settings, options).expect("started");
    let mut events = Vec::new();
    loop {
        let event = generations.step(&[id]).remove(0).expect("an event");
        events.push(event);
        if matches!(events.last(), Some(Event::Done(_))) {
            assert_eq!(generations.step(&[id]), [Err(Error::Finished)]);
            return events;
        }
    }
}

fn delta(text: &str, computed: &[&str]) -> Delta {
    let tokens = tokens(computed);
    Delta { choice: 0, text: text.into(), tokens, log_probabilities: Vec::new() }
}

fn reason(events: &[Event]) -> FinishReason {
    let Some(Event::Done(done)) = events.last() else { panic!("{events:?}") };
    done.reason
}

const LINE: [&str; 12] = [
    "<think>",
    "hm",
    "</think>",
    "\n",
    "Well. ",
    "[TOOL_CALLS]",
    "f",
    "[ARGS]",
    "{\"a\"",
    ": 1}",
    "[OTHER]",
    "</s>",
];

#[test]
fn each_token_comes_once_and_what_else_it_brings_behind_it() {
    let events = run(&LINE, &greedy(), &options());
    let text = |text: &str, computed: &[&str]| Event::Delta(delta(text, computed));
    let thought = |text: &str, computed: &[&str]| Event::Reasoning(delta(text, computed));
    let Event::ToolCallDelta(ToolCallDelta { id: Some(id), .. }) = &events[9] else {
        panic!("{events:?}")
    };
    let more = |head: Option<&str>, arguments: &str| {
        let name = head.map(str::to_owned);
        let id = head.map(|_| id.clone());
        Event::ToolCallDelta(ToolCallDelta {
            choice: 0,
            index: 0,
            id,
            name,
            arguments: arguments.into(),
        })
    };
    let expected = [
        thought("", &["<think>"]),
        thought("hm", &["hm"]),
        text("", &["</think>"]),
        text("", &["\n"]),
        // The blank might belong to a call.
        text("Well.", &["Well. "]),
        text("", &["[TOOL_CALLS]"]),
        text("", &["f"]),
        text("", &["[ARGS]"]),
        text("", &["{\"a\""]),
        more(Some("f"), "{\"a\""),
        text("", &[": 1}"]),
        more(None, ": 1}"),
        text("", &["[OTHER]"]),
        text("", &["</s>"]),
    ];
    assert_eq!(events[..expected.len()], expected);
    let [Event::Done(done)] = &events[expected.len()..] else { panic!("{events:?}") };
    assert_eq!(done.reason, FinishReason::ToolCalls);
    assert_eq!(done.usage.generated_tokens as usize, LINE.len());
    // The same seed gives the same id, another prompt or seed another.
    assert_eq!(run(&LINE, &greedy(), &options()), events);
    let other = RequestSettings { seed: 1, ..greedy() };
    assert_ne!(run(&LINE, &other, &options())[9], events[9]);
}

#[test]
fn without_a_form_all_is_text_but_special_tokens() {
    let events = run(&LINE, &greedy(), &GenerationOptions::default());
    let text: String = events
        .iter()
        .map(|event| match event {
            Event::Delta(delta) => delta.text.as_str(),
            Event::Done(_) => "",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(text, "<think>hm</think>\nWell. f{\"a\": 1}");
    assert_eq!(events.len(), LINE.len() + 1);
    assert_eq!(reason(&events), FinishReason::Stop);
}

#[test]
fn an_answer_that_is_cut_or_stopped_says_so_in_spite_of_calls() {
    let call = ["[TOOL_CALLS]", "f", "[ARGS]", "{\"a\"", ": 1}", "Well. ", "STOP", "hm"];
    let cut = RequestSettings { max_tokens: 4, ..greedy() };
    assert_eq!(reason(&run(&call, &cut, &options())), FinishReason::Length);
    let stopped = RequestSettings { stop: vec!["STOP".into()], ..greedy() };
    let events = run(&call, &stopped, &options());
    assert_eq!(reason(&events), FinishReason::StopText);
    assert!(events.contains(&Event::Delta(delta("Well.", &["Well. "]))), "{events:?}");
    // A call whose arguments never became whole is none that could be made.
    let broken = ["[TOOL_CALLS]", "f", "[ARGS]", "{\"a\"", "</s>"];
    assert_eq!(reason(&run(&broken, &greedy(), &options())), FinishReason::Stop);
}

#[test]
fn events_that_wait_hold_up_no_neighbour() {
    let lines = [&LINE[..], &["hm"; 20]].map(tokens).to_vec();
    let mut generations = Generations::new(Lines(lines), Words, 8);
    let settings = RequestSettings { max_tokens: 20, ..greedy() };
    let calls = generations.start(vec![PROMPT], &settings, &options()).expect("started");
    let plain =
        generations.start(vec![PROMPT], &settings, &GenerationOptions::default()).expect("started");
    let mut of_calls = Vec::new();
    for _ in 0..20 {
        let mut events = generations.step(&[calls, plain]);
        let beside = events.pop().expect("two answers");
        assert_eq!(beside, Ok(Event::Delta(delta("hm", &["hm"]))));
        of_calls.extend(events.pop().expect("two answers"));
    }
    assert_eq!(of_calls, run(&LINE, &settings, &options()));
}

#[test]
fn choices_have_their_own_events_and_each_token_its_log_probability() {
    let lines = [&LINE[..], &["hm"; 20]].map(tokens).to_vec();
    let mut generations = Generations::new(Lines(lines), Words, 8);
    let settings = RequestSettings { max_tokens: 20, ..greedy() };
    let plain_options = options();
    let options = GenerationOptions { log_probabilities: Some(1), ..options() };
    let ids = generations.start_choices(vec![PROMPT], &settings, &options, 2).expect("started");
    let mut of_choices = [Vec::new(), Vec::new()];
    let results: Vec<_> = (0..22).flat_map(|_| generations.step(&ids)).collect();
    for (place, result) in results.into_iter().enumerate() {
        match result {
            Ok(Event::Idle(choice)) => assert_eq!((choice, place), (1, 1)),
            Ok(mut event) => {
                let choice = match &mut event {
                    Event::Delta(delta) | Event::Reasoning(delta) => {
                        let reports = std::mem::take(&mut delta.log_probabilities);
                        let reported: Vec<_> =
                            reports.iter().map(|report| report.chosen.token).collect();
                        assert_eq!(reported, delta.tokens);
                        delta.choice
                    }
                    Event::ToolCallDelta(delta) => delta.choice,
                    Event::Done(done) => done.choice,
                    other => panic!("{other:?}"),
                };
                assert_eq!(choice as usize, place % 2);
                of_choices[choice as usize].push(event);
            }
            Err(error) => assert_eq!(error, Error::Finished),
        }
    }
    let [calls, plain] = of_choices;
    assert_eq!(calls, run(&LINE, &settings, &plain_options));
    // An idle step, 20 tokens and the end: no step waited for events of the other choice.
    assert_eq!(plain.len(), 21);
    assert_eq!(reason(&plain), FinishReason::Length);
}
