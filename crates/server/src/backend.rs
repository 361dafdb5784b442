use thiserror::Error;
use trefoil_contract::{
    Conversation, Error as ContractError, Event, ModelInfo, Relevance, Request, TokenizeOptions,
};
use trefoil_openai::Failure;

/// A model that is loaded: what the contract's `inference` offers, called from one thread.
///
/// After [`BackendError::Failed`] it is not called again.
pub trait Backend {
    /// What is known about the model.
    ///
    /// # Errors
    /// [`BackendError`], as of every method.
    fn info(&mut self) -> Result<ModelInfo, BackendError>;

    /// Turns text into tokens.
    ///
    /// # Errors
    /// As the contract's `tokenize`.
    fn tokenize(&mut self, text: &[u8], options: TokenizeOptions)
    -> Result<Vec<u32>, BackendError>;

    /// Turns tokens into text.
    ///
    /// # Errors
    /// As the contract's `detokenize`.
    fn detokenize(&mut self, tokens: &[u32], special: bool) -> Result<Vec<u8>, BackendError>;

    /// Renders a conversation with the model's chat template.
    ///
    /// # Errors
    /// As the contract's `render-chat`.
    fn render_chat(&mut self, conversation: Conversation) -> Result<String, BackendError>;

    /// The vector of a text.
    ///
    /// # Errors
    /// As the contract's `embed`.
    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError>;

    /// How well a document goes with a query.
    ///
    /// # Errors
    /// As the contract's `relevance`.
    fn relevance(&mut self, query: &[u8], document: &[u8]) -> Result<Relevance, BackendError>;

    /// Natural logarithms of the probability of each token but the first.
    ///
    /// # Errors
    /// As the contract's `score`.
    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError>;

    /// Starts a generation; computes nothing yet.
    ///
    /// # Errors
    /// As the contract's `start`.
    fn start(&mut self, request: Request) -> Result<GenerationId, BackendError>;

    /// One batched step for several generations; answers in their order.
    ///
    /// # Errors
    /// Only [`BackendError::Failed`]; each generation has its own result besides.
    fn advance(
        &mut self,
        generations: &[GenerationId],
    ) -> Result<Vec<Result<Event, ContractError>>, BackendError>;

    /// Ends a generation, finished or not, and frees its place.
    ///
    /// # Errors
    /// Only [`BackendError::Failed`].
    fn cancel(&mut self, generation: GenerationId) -> Result<(), BackendError>;
}

/// Names a generation of one [`Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub u64);

/// Why a call brought no result.
#[derive(Debug, Clone, Error, PartialEq)]
pub enum BackendError {
    /// The engine refused, by the contract.
    #[error(transparent)]
    Refused(#[from] ContractError),
    /// The instance has ended: by a trap, a limit, or a fault of its host. What it computed is
    /// lost; another one can be opened.
    #[error("{0}")]
    Failed(String),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Refused(error) => error.into(),
            BackendError::Failed(message) => Failure::instance_failed(message),
        }
    }
}

/// Opens a model; called on the thread that will use it, again after every failure and every time
/// it was unloaded. The text says why it cannot be opened.
pub type Open = Box<dyn Fn() -> Result<Box<dyn Backend>, String> + Send>;
