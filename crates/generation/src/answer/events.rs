//! The contract's events for the parts of an answer.

use std::collections::VecDeque;

use trefoil_contract::{Delta, Event, ToolCallDelta};

use super::AnswerPart;

/// Names the calls of one answer: nine letters and digits, as Mistral's templates want them, which
/// the prompt, the seed and the call's place decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallIds(pub(crate) u64);

impl CallIds {
    /// For the answer to a prompt.
    pub(crate) fn new(prompt: &[u32], seed: u64, choice: u32) -> Self {
        // FNV-1a over 32 bits at a time: nobody is to be kept from guessing.
        let words = [seed as u32, (seed >> 32) as u32, choice];
        let hash = prompt.iter().chain(&words).fold(0xcbf2_9ce4_8422_2325_u64, |hash, &word| {
            (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3)
        });
        CallIds(hash ^ hash >> 29)
    }

    /// The id of a call.
    pub(crate) fn id(self, index: u32) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let digit = |number: u64| char::from(DIGITS[(number % 36) as usize]);
        let of_answer = (0..7).map(|place| digit(self.0 / 36_u64.pow(place)));
        let of_call = [u64::from(index) / 36, u64::from(index)].map(digit);
        of_answer.chain(of_call).collect()
    }
}

/// The events of one step that computed `computed`'s tokens, in order. Exactly one of them, the
/// first, carries the tokens: a delta of text or reasoning, empty if there is neither.
pub(crate) fn events(
    parts: Vec<AnswerPart>,
    computed: Delta,
    is_reasoning: bool,
    ids: CallIds,
) -> VecDeque<Event> {
    let choice = computed.choice;
    let mut tokens = Some(computed);
    let mut delta = |text: String| match tokens.take() {
        Some(computed) => Delta { text, ..computed },
        None => Delta { choice, text, tokens: Vec::new(), log_probabilities: Vec::new() },
    };
    let mut events = VecDeque::new();
    for part in parts {
        let is_call = matches!(part, AnswerPart::Call { .. } | AnswerPart::Arguments { .. });
        if is_call && events.is_empty() {
            events.push_back(Event::Delta(delta(String::new())));
        }
        match part {
            AnswerPart::Text(text) => match events.back_mut() {
                Some(Event::Delta(last)) => last.text.push_str(&text),
                _ => events.push_back(Event::Delta(delta(text))),
            },
            AnswerPart::Reasoning(text) => events.push_back(Event::Reasoning(delta(text))),
            AnswerPart::Call { index, name, arguments } => {
                events.push_back(Event::ToolCallDelta(ToolCallDelta {
                    choice,
                    index,
                    id: Some(ids.id(index)),
                    name: Some(name),
                    arguments,
                }));
            }
            AnswerPart::Arguments { index, text } => match events.back_mut() {
                Some(Event::ToolCallDelta(last)) => last.arguments.push_str(&text),
                _ => events.push_back(Event::ToolCallDelta(ToolCallDelta {
                    choice,
                    index,
                    id: None,
                    name: None,
                    arguments: text,
                })),
            },
            AnswerPart::Syntax(_) => {}
        }
    }
    if events.is_empty() {
        let delta = delta(String::new());
        events.push_back(match is_reasoning {
            true => Event::Reasoning(delta),
            false => Event::Delta(delta),
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use super::CallIds;

    #[test]
    fn ids_have_nine_signs_and_differ_by_call_prompt_seed_and_choice() {
        let ids = CallIds::new(&[1, 2], 7, 0);
        let mut all: Vec<_> =
            (0..crate::tool_calls::CALLS_MAX).map(|index| ids.id(index)).collect();
        for (prompt, seed, choice) in [(vec![1], 7, 0), (vec![1, 2], 8, 0), (vec![1, 2], 7, 1)] {
            all.push(CallIds::new(&prompt, seed, choice).id(0));
        }
        assert!(all.iter().all(|id| id.len() == 9 && id.chars().all(char::is_alphanumeric)));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(CallIds::new(&[1, 2], 7, 0).id(3), ids.id(3));
    }
}
