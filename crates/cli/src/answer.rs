//! An answer, put together from its events.

use serde_json::{Value, json};
use trefoil_contract::{
    Delta, Done, Event, FinishReason, TokenChoice, TokenProbability, ToolCall, ToolCallDelta, Usage,
};

use crate::fields::json_text;

/// What has come of one answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    ids: Vec<u32>,
    text: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    /// Only of those who ask for them, one for each token.
    log_probabilities: Option<Vec<TokenChoice>>,
    pub(crate) done: Option<Done>,
}

impl Answer {
    /// An answer that nothing has come of yet, with or without the log probabilities of its tokens.
    pub(crate) fn new(reports: bool) -> Self {
        Answer { log_probabilities: reports.then(Vec::new), ..Answer::default() }
    }

    /// Takes one of its events.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Delta(delta) => {
                self.text += &delta.text;
                self.take_tokens(delta);
            }
            Event::Reasoning(delta) => {
                self.reasoning += &delta.text;
                self.take_tokens(delta);
            }
            Event::ToolCallDelta(delta) => self.take_call(delta),
            Event::Done(done) => self.done = Some(done),
            Event::PromptProgress(_) | Event::Idle(_) => {}
        }
    }

    fn take_tokens(&mut self, delta: Delta) {
        self.ids.extend(delta.tokens);
        if let Some(choices) = &mut self.log_probabilities {
            choices.extend(delta.log_probabilities);
        }
    }

    /// More of a call, or a new one.
    fn take_call(&mut self, delta: ToolCallDelta) {
        if let Some(call) = self.calls.get_mut(delta.index as usize) {
            call.arguments += &delta.arguments;
        } else {
            self.calls.push(ToolCall {
                id: delta.id.unwrap_or_default(),
                name: delta.name.unwrap_or_default(),
                arguments: delta.arguments,
            });
        }
    }

    /// As `generate --json` prints it: calls in OpenAI's form.
    pub(crate) fn json(&self) -> Value {
        let mut answer = json!({
            "ids": self.ids,
            "text": self.text,
            "finish_reason": self.done.map(|done| reason(done.reason)),
            "usage": self.done.map(|done| usage(done.usage)),
        });
        if !self.reasoning.is_empty() {
            answer["reasoning"] = json!(self.reasoning);
        }
        if !self.calls.is_empty() {
            answer["tool_calls"] = self.calls.iter().map(tool_call).collect();
        }
        if let Some(choices) = &self.log_probabilities {
            answer["log_probabilities"] = choices.iter().map(token_choice).collect();
        }
        answer
    }
}

fn token_choice(choice: &TokenChoice) -> Value {
    let mut value = token_probability(&choice.chosen);
    value["top"] = choice.top.iter().map(token_probability).collect();
    value
}

/// JSON knows no infinity: a token that the model excludes has null.
fn token_probability(probability: &TokenProbability) -> Value {
    json!({
        "id": probability.token,
        "text": json_text(probability.bytes.clone()),
        "log_probability": probability.log_probability,
    })
}

fn tool_call(call: &ToolCall) -> Value {
    let function = json!({ "name": call.name, "arguments": call.arguments });
    json!({ "id": call.id, "type": "function", "function": function })
}

fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::StopText => "stop-text",
        FinishReason::Length => "length",
        FinishReason::ContextFull => "context-full",
        FinishReason::ToolCalls => "tool-calls",
    }
}

fn usage(usage: Usage) -> Value {
    let mut json = json!({
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "generated_tokens": usage.generated_tokens,
    });
    if usage.drafted_tokens > 0 {
        json["drafted_tokens"] = usage.drafted_tokens.into();
        json["accepted_tokens"] = usage.accepted_tokens.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_put_together_and_tokens_come_from_all_deltas() {
        let chosen =
            |token| TokenProbability { token, bytes: b"b".to_vec(), log_probability: -0.5 };
        let delta = |text: &str, token| Delta {
            choice: 0,
            text: text.into(),
            tokens: vec![token],
            log_probabilities: vec![TokenChoice { chosen: chosen(token), top: Vec::new() }],
        };
        let call = |index, head: Option<&str>, arguments: &str| ToolCallDelta {
            choice: 0,
            index,
            id: head.map(|name| format!("id of {name}")),
            name: head.map(str::to_owned),
            arguments: arguments.into(),
        };
        let events = [
            Event::Reasoning(delta("hm", 1)),
            Event::Delta(delta("a", 2)),
            Event::ToolCallDelta(call(0, Some("f"), "{")),
            Event::Delta(delta("", 3)),
            Event::ToolCallDelta(call(0, None, "}")),
            Event::ToolCallDelta(call(1, Some("g"), "{}")),
        ];
        let [mut answer, mut reporting] = [false, true].map(Answer::new);
        for event in events {
            answer.take(event.clone());
            reporting.take(event);
        }
        let function = |name: &str| {
            json!({
                "id": format!("id of {name}"),
                "type": "function",
                "function": { "name": name, "arguments": "{}" },
            })
        };
        let mut expected = json!({
            "ids": [1, 2, 3],
            "text": "a",
            "reasoning": "hm",
            "tool_calls": [function("f"), function("g")],
            "finish_reason": null,
            "usage": null,
        });
        assert_eq!(answer.json(), expected);
        let chosen = |id| json!({ "id": id, "text": "b", "log_probability": -0.5, "top": [] });
        expected["log_probabilities"] = [1, 2, 3].map(chosen).into();
        assert_eq!(reporting.json(), expected);
    }
}
