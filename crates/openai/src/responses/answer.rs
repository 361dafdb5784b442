use serde::Serialize;
use serde_json::{Map, Value, json};
use trefoil_contract::{Delta, Done, Event, FinishReason, ToolCallDelta};
use utoipa::ToSchema;

use crate::answer::{Answer, Stamp};

/// A response.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ResponseBody {
    pub(super) id: String,
    /// `response`
    pub(super) object: &'static str,
    /// Seconds since 1970.
    pub(super) created_at: u64,
    /// `in_progress`, `completed` or `incomplete`.
    pub(super) status: &'static str,
    /// Why it is incomplete.
    pub(super) incomplete_details: Option<Incomplete>,
    /// Always null: a response that fails is an error body.
    #[schema(value_type = Option<Object>)]
    pub(super) error: Option<Value>,
    pub(super) model: String,
    /// What the model thinks, says and calls, in order.
    pub(super) output: Vec<OutputItem>,
    pub(super) usage: Option<ResponseUsage>,
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    #[schema(value_type = Object)]
    pub(super) metadata: Map<String, Value>,
    /// As the request had it.
    pub(super) tool_choice: Value,
    #[schema(value_type = Vec<Object>)]
    pub(super) tools: Vec<Value>,
    /// Whether there may be several calls.
    pub(super) parallel_tool_calls: bool,
    /// Always false: nothing is kept.
    pub(super) store: bool,
}

/// Why a response is incomplete.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Incomplete {
    /// `max_output_tokens`
    reason: &'static str,
}

/// What a response used.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct ResponseUsage {
    /// Tokens of the prompt.
    input_tokens: u64,
    /// More about them.
    input_tokens_details: InputDetails,
    /// Tokens generated.
    output_tokens: u64,
    /// More about them.
    output_tokens_details: OutputDetails,
    /// Both.
    total_tokens: u64,
}

/// More about the prompt's tokens.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
struct InputDetails {
    /// Those that were in the cache already.
    cached_tokens: u64,
}

/// More about the generated tokens.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
struct OutputDetails {
    /// Those of reasoning.
    reasoning_tokens: u64,
}

/// Something that the model thinks, says or calls.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OutputItem {
    /// What it thinks.
    Reasoning {
        id: String,
        /// Always empty.
        summary: [String; 0],
        content: Vec<OutputText>,
        status: &'static str,
    },
    /// What it says.
    Message {
        id: String,
        /// `assistant`
        role: &'static str,
        content: Vec<OutputText>,
        status: &'static str,
    },
    /// What it calls.
    FunctionCall {
        id: String,
        /// Names the call.
        call_id: String,
        name: String,
        /// A JSON object as text.
        arguments: String,
        status: &'static str,
    },
}

/// A text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct OutputText {
    /// `output_text` or `reasoning_text`.
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
    /// Always empty.
    annotations: [String; 0],
}

/// Makes a response of events, and the events of its stream.
#[derive(Debug)]
pub struct ResponsesAnswer {
    body: ResponseBody,
    /// What items are named by.
    random: u64,
    /// Of the next event.
    sequence_number: u64,
    /// Whether the last item may go on.
    is_open: bool,
    reasoning_tokens: u64,
    is_complete: bool,
}

impl ResponsesAnswer {
    /// `echo` is what the response repeats of its request.
    pub(super) fn new(stamp: Stamp, echo: ResponseBody) -> Self {
        let body = ResponseBody {
            id: format!("resp_{:032x}", stamp.random),
            object: "response",
            created_at: stamp.created_s,
            status: "in_progress",
            parallel_tool_calls: true,
            ..echo
        };
        ResponsesAnswer {
            body,
            random: (stamp.random >> 64) as u64,
            sequence_number: 0,
            is_open: false,
            reasoning_tokens: 0,
            is_complete: false,
        }
    }

    /// An event of the stream, with what all of them have.
    fn event(&mut self, kind: &str, mut fields: Value) -> Value {
        fields["type"] = kind.into();
        fields["sequence_number"] = self.sequence_number.into();
        self.sequence_number += 1;
        fields
    }

    /// An event about the whole response.
    fn about_all(&mut self, kind: &str) -> Value {
        let fields = json!({ "response": self.body });
        self.event(kind, fields)
    }

    /// An event about the last item, which must be there.
    fn about_last(&mut self, kind: &str, mut fields: Value) -> Value {
        let index = self.body.output.len().saturating_sub(1);
        fields["output_index"] = index.into();
        if let Some(item) = self.body.output.last() {
            fields["item_id"] = item.id().into();
            if item.has_parts() {
                fields["content_index"] = 0.into();
            }
        }
        self.event(kind, fields)
    }

    fn item_event(&mut self, kind: &str) -> Value {
        let index = self.body.output.len().saturating_sub(1);
        let fields = json!({ "output_index": index, "item": self.body.output.last() });
        self.event(kind, fields)
    }

    /// Begins an item; `kind` begins its name.
    fn open(&mut self, kind: &str, item: impl FnOnce(String) -> OutputItem, out: &mut Vec<Value>) {
        self.close("completed", out);
        let index = self.body.output.len();
        self.body.output.push(item(format!("{kind}_{:016x}{index:04x}", self.random)));
        self.is_open = true;
        out.push(self.item_event("response.output_item.added"));
        if let Some(content) = self.body.output.last_mut().and_then(OutputItem::content) {
            let part = OutputText { kind: part_kind(kind), text: String::new(), annotations: [] };
            content.push(part.clone());
            let part = json!({ "part": part });
            out.push(self.about_last("response.content_part.added", part));
        }
    }

    /// Ends the item that is open, if one is.
    fn close(&mut self, status: &'static str, out: &mut Vec<Value>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let Some(item) = self.body.output.last_mut() else { return };
        item.set_status(status);
        match item.clone() {
            OutputItem::FunctionCall { name, arguments, .. } => {
                let fields = json!({ "name": name, "arguments": arguments });
                out.push(self.about_last("response.function_call_arguments.done", fields));
            }
            OutputItem::Message { content, .. } | OutputItem::Reasoning { content, .. } => {
                for part in content {
                    let kind = format!("response.{}.done", part.kind);
                    let mut fields = json!({ "text": part.text });
                    if part.kind == "output_text" {
                        fields["logprobs"] = json!([]);
                    }
                    out.push(self.about_last(&kind, fields));
                    let fields = json!({ "part": part });
                    out.push(self.about_last("response.content_part.done", fields));
                }
            }
        }
        out.push(self.item_event("response.output_item.done"));
    }

    /// More text of the message or the reasoning.
    fn text(&mut self, delta: Delta, is_reasoning: bool, out: &mut Vec<Value>) {
        if is_reasoning {
            self.reasoning_tokens += delta.tokens.len() as u64;
        }
        if delta.text.is_empty() {
            return;
        }
        let goes_on = self.is_open
            && match self.body.output.last() {
                Some(OutputItem::Reasoning { .. }) => is_reasoning,
                Some(OutputItem::Message { .. }) => !is_reasoning,
                _ => false,
            };
        if !goes_on {
            self.open_text(is_reasoning, out);
        }
        let content = self.body.output.last_mut().and_then(OutputItem::content);
        if let Some(part) = content.and_then(|content| content.last_mut()) {
            part.text.push_str(&delta.text);
        }
        let mut fields = json!({ "delta": delta.text });
        let kind = if is_reasoning {
            "response.reasoning_text.delta"
        } else {
            fields["logprobs"] = json!([]);
            "response.output_text.delta"
        };
        out.push(self.about_last(kind, fields));
    }

    fn open_text(&mut self, is_reasoning: bool, out: &mut Vec<Value>) {
        let (content, status) = (Vec::new(), "in_progress");
        if is_reasoning {
            let item = |id| OutputItem::Reasoning { id, summary: [], content, status };
            self.open(REASONING, item, out);
        } else {
            let item = |id| OutputItem::Message { id, role: "assistant", content, status };
            self.open("msg", item, out);
        }
    }

    fn call(&mut self, delta: ToolCallDelta, out: &mut Vec<Value>) {
        if let Some(call_id) = delta.id {
            let name = delta.name.unwrap_or_default();
            let (arguments, status) = (String::new(), "in_progress");
            let item = |id| OutputItem::FunctionCall { id, call_id, name, arguments, status };
            self.open("fc", item, out);
        }
        if delta.arguments.is_empty() {
            return;
        }
        if let Some(OutputItem::FunctionCall { arguments, .. }) = self.body.output.last_mut() {
            arguments.push_str(&delta.arguments);
        }
        let fields = json!({ "delta": delta.arguments });
        out.push(self.about_last("response.function_call_arguments.delta", fields));
    }

    fn end(&mut self, done: &Done, out: &mut Vec<Value>) {
        let is_answered =
            self.body.output.iter().any(|item| !matches!(item, OutputItem::Reasoning { .. }));
        if !is_answered {
            self.open_text(false, out);
        }
        let is_cut = matches!(done.reason, FinishReason::Length | FinishReason::ContextFull);
        let status = if is_cut { "incomplete" } else { "completed" };
        self.close(status, out);
        self.body.status = status;
        let reason = "max_output_tokens";
        self.body.incomplete_details = is_cut.then_some(Incomplete { reason });
        let (input, output) = (done.usage.prompt_tokens.into(), done.usage.generated_tokens.into());
        self.body.usage = Some(ResponseUsage {
            input_tokens: input,
            input_tokens_details: InputDetails { cached_tokens: done.usage.cached_tokens.into() },
            output_tokens: output,
            output_tokens_details: OutputDetails { reasoning_tokens: self.reasoning_tokens },
            total_tokens: input + output,
        });
        self.is_complete = true;
        out.push(self.about_all(&format!("response.{status}")));
    }
}

const REASONING: &str = "rs";

fn part_kind(item: &str) -> &'static str {
    if item == REASONING { "reasoning_text" } else { "output_text" }
}

impl OutputItem {
    fn id(&self) -> &str {
        match self {
            OutputItem::Reasoning { id, .. }
            | OutputItem::Message { id, .. }
            | OutputItem::FunctionCall { id, .. } => id,
        }
    }

    fn content(&mut self) -> Option<&mut Vec<OutputText>> {
        match self {
            OutputItem::Reasoning { content, .. } | OutputItem::Message { content, .. } => {
                Some(content)
            }
            OutputItem::FunctionCall { .. } => None,
        }
    }

    fn has_parts(&self) -> bool {
        !matches!(self, OutputItem::FunctionCall { .. })
    }

    fn set_status(&mut self, new: &'static str) {
        match self {
            OutputItem::Reasoning { status, .. }
            | OutputItem::Message { status, .. }
            | OutputItem::FunctionCall { status, .. } => *status = new,
        }
    }
}

impl Answer for ResponsesAnswer {
    type Chunk = Value;
    type Whole = ResponseBody;
    const LAST: Option<&'static str> = None;

    fn name(chunk: &Value) -> Option<&str> {
        chunk["type"].as_str()
    }

    fn begin_with(&mut self, _: &[u8]) {}

    fn first(&mut self) -> Vec<Value> {
        ["response.created", "response.in_progress"].map(|kind| self.about_all(kind)).into()
    }

    fn chunks(&mut self, event: Event) -> Vec<Value> {
        let mut out = Vec::new();
        match event {
            Event::PromptProgress(_) | Event::Idle(_) => {}
            Event::Delta(delta) => self.text(delta, false, &mut out),
            Event::Reasoning(delta) => self.text(delta, true, &mut out),
            Event::ToolCallDelta(delta) => self.call(delta, &mut out),
            Event::Done(done) => self.end(&done, &mut out),
        }
        out
    }

    fn add(&mut self, event: Event) {
        self.chunks(event);
    }

    fn whole(self) -> ResponseBody {
        self.body
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }
}
