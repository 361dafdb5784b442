use std::rc::Rc;

use trefoil_contract::{Error, Prompt, ResponseFormat, Result, Setting, ToolChoice, Value};
use trefoil_generation::GenerationOptions;
use trefoil_settings::{Scope, Settings};

use crate::prompt::PreparedPrompt;
use crate::snapshot::Continuation;
use crate::{Generation, Model, SETTINGS_PREFIX};

/// A request under construction: setters record, [`Request::start`] reports.
pub struct Request {
    model: Rc<Model>,
    origin: Origin,
    settings: Vec<Setting>,
    logit_bias: Option<Vec<(u32, f32)>>,
    log_probabilities: Option<u32>,
    choices: u32,
    response_format: ResponseFormat,
    tool_choice: ToolChoice,
}

/// What an answer goes on from.
enum Origin {
    Prompt(Prompt),
    Saved(Box<Continuation>),
}

impl Request {
    /// Begins a request.
    pub fn new(model: Rc<Model>, prompt: Prompt) -> Request {
        Request::from(model, Origin::Prompt(prompt))
    }

    /// Begins a request that goes on with a generation as it was. What is set from now on holds in
    /// place of what was set for that; a seed begins new random numbers.
    pub(crate) fn going_on(continuation: Continuation) -> Request {
        Request::from(Rc::clone(&continuation.model), Origin::Saved(Box::new(continuation)))
    }

    fn from(model: Rc<Model>, origin: Origin) -> Request {
        Request {
            model,
            origin,
            settings: Vec::new(),
            logit_bias: None,
            log_probabilities: None,
            choices: 1,
            response_format: ResponseFormat::Text,
            tool_choice: ToolChoice::Auto,
        }
    }

    /// Any setting of the table; a later value replaces an earlier one, unless the key may
    /// occur several times.
    pub fn set(&mut self, setting: Setting) {
        let is_list = trefoil_settings::key(&setting.key).is_some_and(|key| key.kind.is_list());
        self.settings.retain(|earlier| earlier.key != setting.key || is_list);
        self.settings.push(setting);
    }

    /// Replaces the stop texts.
    pub fn set_stop(&mut self, texts: Vec<String>) {
        self.settings.retain(|setting| setting.key != "stop");
        self.settings.extend(texts.into_iter().map(|text| Setting::new("stop", Value::Text(text))));
    }

    /// Added to the logits of single tokens.
    pub fn set_logit_bias(&mut self, biases: Vec<(u32, f32)>) {
        self.logit_bias = Some(biases);
    }

    /// Reports log probabilities: of the chosen token and so many likeliest.
    pub fn set_log_probabilities(&mut self, top: u32) {
        self.log_probabilities = Some(top);
    }

    /// Number of independent answers.
    pub fn set_choices(&mut self, count: u32) {
        self.choices = count;
    }

    /// Form of the answer.
    pub fn set_response_format(&mut self, format: ResponseFormat) {
        self.response_format = format;
    }

    /// Whether tools are called.
    pub fn set_tool_choice(&mut self, choice: ToolChoice) {
        self.tool_choice = choice;
    }

    /// Checks the request and takes a place for it.
    ///
    /// # Errors
    /// What the setters recorded and the model refuses, an encoder everything;
    /// [`Error::ContextOverflow`]; [`Error::Busy`]; [`Error::Template`]. An answer that goes on refuses
    /// choices, a response format and a tool choice.
    pub fn start(self) -> Result<Generation> {
        self.model.check_generates()?;
        match self.origin {
            Origin::Prompt(_) => self.begin(),
            Origin::Saved(_) => self.go_on(),
        }
    }

    fn begin(self) -> Result<Generation> {
        let Origin::Prompt(prompt) = self.origin else { return Err(Error::Finished) };
        let mut settings = self.model.settings.clone();
        settings.apply(&self.settings, Scope::Request, SETTINGS_PREFIX)?;
        let PreparedPrompt { tokens, answer, response_format } = PreparedPrompt::new(
            &self.model,
            prompt,
            &settings.request,
            &self.tool_choice,
            self.response_format,
        )?;
        let options = GenerationOptions {
            logit_bias: self.logit_bias.unwrap_or_default(),
            choice: 0,
            log_probabilities: self.log_probabilities,
            response_format,
            answer,
        };
        let ids = self.model.generations.borrow_mut().start_choices(
            tokens,
            &settings.request,
            &options,
            self.choices,
        )?;
        Ok(Generation::new(self.model, ids))
    }

    fn go_on(self) -> Result<Generation> {
        let Origin::Saved(mut continuation) = self.origin else { return Err(Error::Finished) };
        let keeps_form =
            self.response_format == ResponseFormat::Text && self.tool_choice == ToolChoice::Auto;
        if self.choices != 1 || !keeps_form {
            return Err(Error::InvalidArgument(
                "an answer that goes on is one, and keeps its form: leave out choices, response \
                 format and tool choice"
                    .into(),
            ));
        }
        let saved = &mut continuation.saved;
        let request = saved.settings().clone();
        let mut settings = Settings { request, ..self.model.settings.clone() };
        settings.apply(&self.settings, Scope::Request, SETTINGS_PREFIX)?;
        let reseeds = self.settings.iter().any(|setting| setting.key == "seed");
        saved.set_settings(settings.request, reseeds);
        if let Some(bias) = self.logit_bias {
            saved.set_logit_bias(bias);
        }
        if let Some(top) = self.log_probabilities {
            saved.set_log_probabilities(top);
        }
        let id = continuation.resume()?;
        Ok(Generation::new(self.model, vec![id]))
    }
}
