use crate::Setting;

/// What is known about a model (`inference.model-info`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The part's name.
    pub name: String,
    /// For example `llama`.
    pub architecture: String,
    /// Engine and version, for example `cpu 0.1.0`.
    pub engine: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Size of the vocabulary, in tokens.
    pub vocabulary_tokens: u32,
    /// Length of a token's vector.
    pub embedding_length: u32,
    /// Context that the model was trained for, in tokens.
    pub context_tokens_trained: u32,
    /// Context in force, in tokens.
    pub context_tokens: u32,
    /// Generations that can be under way at once.
    pub sequences_max: u32,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Tokens that end a generation.
    pub end_of_generation: Vec<u32>,
    /// Whether there is a chat template.
    pub has_chat_template: bool,
}

/// How text becomes tokens (`inference.tokenize-options`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Add BOS and EOS as the model wants.
    pub add_special: bool,
    /// Read the texts of special tokens as these tokens.
    pub parse_special: bool,
}

/// A call that the model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

/// What a tool returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call's id.
    pub id: String,
    /// The texts.
    pub texts: Vec<String>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePart {
    /// Text.
    Text(String),
    /// A file.
    Media {
        /// The MIME type.
        mime: String,
        /// The bytes.
        data: Vec<u8>,
    },
    /// What the model thought before its answer.
    Reasoning(String),
    /// A call that the model made.
    ToolCall(ToolCall),
    /// Its result.
    ToolResult(ToolResult),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, ...
    pub role: String,
    /// The content.
    pub parts: Vec<MessagePart>,
    /// Further fields for the template, as a JSON object.
    pub variables: Option<String>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: impl Into<String>, text: impl Into<String>) -> Self {
        Message { role: role.into(), parts: vec![MessagePart::Text(text.into())], variables: None }
    }
}

/// A conversation for the chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The messages so far.
    pub messages: Vec<Message>,
    /// A JSON array of tools in OpenAI's form.
    pub tools: Option<String>,
    /// Further variables for the template, as a JSON object.
    pub variables: Option<String>,
    /// Whether the text ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
}

/// What a generation starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text to go on with, tokenized with the model's own special tokens around.
    Text(Vec<u8>),
    /// Tokens as they are.
    Tokens(Vec<u32>),
    /// A conversation.
    Chat(Conversation),
}

/// Form that an answer must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// JSON that satisfies a schema.
    JsonSchema(String),
    /// Text that a regular expression matches.
    Regex(String),
    /// Text that a grammar derives.
    Grammar(String),
}

/// Whether tools may or must be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No call.
    None,
    /// At least one call.
    Required,
    /// A call of this tool.
    Named(String),
}

/// A request: what the setters of `inference.request` record.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the answer continues.
    pub prompt: Prompt,
    /// Settings of the table; a later value replaces an earlier one.
    pub settings: Vec<Setting>,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Report log probabilities: of the chosen token and so many likeliest.
    pub log_probabilities: Option<u32>,
    /// Number of independent answers.
    pub choices: u32,
    /// Form that the answer must have.
    pub response_format: ResponseFormat,
    /// Whether tools may or must be called.
    pub tool_choice: ToolChoice,
}

impl Request {
    /// A request without any wishes: one answer, any text, tools as the model decides.
    pub fn new(prompt: Prompt) -> Self {
        Request {
            prompt,
            settings: Vec::new(),
            logit_bias: Vec::new(),
            log_probabilities: None,
            choices: 1,
            response_format: ResponseFormat::Text,
            tool_choice: ToolChoice::Auto,
        }
    }
}

/// How far the prompt is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptProgress {
    /// The answer, from 0.
    pub choice: u32,
    /// Prompt tokens in the cache.
    pub done_tokens: u32,
    /// Tokens of the prompt.
    pub total_tokens: u32,
}

/// A likely token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenProbability {
    /// The token.
    pub token: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub log_probability: f32,
}

/// A chosen token and the likeliest ones at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenChoice {
    /// The chosen token.
    pub chosen: TokenProbability,
    /// Likeliest first.
    pub top: Vec<TokenProbability>,
}

/// New text of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The answer, from 0.
    pub choice: u32,
    /// Whole characters; may be empty.
    pub text: String,
    /// The tokens computed in this step.
    pub tokens: Vec<u32>,
    /// One for each of `tokens`, if asked for.
    pub log_probabilities: Vec<TokenChoice>,
}

/// More of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// The answer, from 0.
    pub choice: u32,
    /// Which call, from 0.
    pub index: u32,
    /// The call's id, once.
    pub id: Option<String>,
    /// The tool's name, once.
    pub name: Option<String>,
    /// More of the arguments' JSON text.
    pub arguments: String,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// A stop text occurred.
    StopText,
    /// `max-tokens` was reached.
    Length,
    /// The context is full.
    ContextFull,
    /// The model called tools.
    ToolCalls,
}

/// How well two texts go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relevance {
    /// The higher, the better: as the model gives it, with no bounds.
    pub score: f32,
    /// Tokens that were computed.
    pub tokens: u32,
}

/// What a request used, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those in the cache already.
    pub cached_tokens: u32,
    /// Tokens generated, one that ended the answer included.
    pub generated_tokens: u32,
    /// Tokens that were guessed.
    pub drafted_tokens: u32,
    /// Guesses that were right.
    pub accepted_tokens: u32,
}

/// The end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The answer, from 0.
    pub choice: u32,
    /// Why.
    pub reason: FinishReason,
    /// What it used.
    pub usage: Usage,
}

/// What one step brought (`inference.event`).
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A chunk of the prompt was processed.
    PromptProgress(PromptProgress),
    /// New text.
    Delta(Delta),
    /// New reasoning.
    Reasoning(Delta),
    /// More of a tool call.
    ToolCallDelta(ToolCallDelta),
    /// An answer ended.
    Done(Done),
    /// Nothing new for this choice.
    Idle(u32),
}
