//! Several instances of one engine: rank 0 leads, the others follow.

use std::collections::BTreeMap;
use std::rc::Rc;

use trefoil_contract::{Error, Result};
use trefoil_decoder::{Decoder, Exchange, Options, agree};
use trefoil_generation::{Forward, SavedCache, Span};
use trefoil_gguf::{Gguf, Source};

use crate::adapters::{Adapters, Choice};
use crate::step::{self, Batch, Step};
use crate::{Imports, PartSource};

/// The collective as the decoder sees it.
#[derive(Clone)]
pub(crate) struct Collective(pub(crate) Rc<dyn Imports>);

impl Exchange for Collective {
    fn rank(&self) -> usize {
        self.0.collective_rank() as usize
    }

    fn size(&self) -> usize {
        self.0.collective_size() as usize
    }

    fn all_gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        self.0.all_gather(part)
    }

    fn gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        self.0.gather(part)
    }
}

/// The forward pass of one model at rank 0, which has all instances compute.
pub(crate) struct Leader {
    decoder: Decoder<Collective>,
    /// Instances beside this one.
    followers: Option<Followers>,
}

/// A model that is to be opened.
pub(crate) struct Opening {
    /// A number that no open model has.
    pub(crate) model: u32,
    /// Of its weights.
    pub(crate) part: u32,
    pub(crate) options: Options,
    /// Its adapters, for the other instances.
    pub(crate) choices: Vec<Choice>,
    /// The same, open here.
    pub(crate) adapters: Adapters,
}

/// The other instances, and what they call the model.
struct Followers {
    imports: Rc<dyn Imports>,
    model: u32,
}

impl Followers {
    fn make(&self, step: &Step) -> Result<()> {
        self.imports.broadcast(&step.encode()).map(drop)
    }
}

impl Leader {
    /// Loads a part's decoder on all instances. `prepare` does what rank 0 has to do beside, while the others load.
    ///
    /// # Errors
    /// Those of [`Decoder::load`] and of `prepare`, on any instance; then it is loaded on none.
    pub(crate) fn load<T>(
        imports: &Rc<dyn Imports>,
        opening: Opening,
        (gguf, source): (&Gguf, &dyn Source),
        prepare: impl FnOnce() -> Result<T>,
    ) -> Result<(Leader, T)> {
        let Opening { model, part, options, choices, adapters } = opening;
        let collective = Collective(Rc::clone(imports));
        if collective.size() == 1 {
            let prepared = prepare()?;
            let decoder = Decoder::load_share(gguf, source, &adapters.list(), options, None)?;
            return Ok((Leader { decoder, followers: None }, prepared));
        }
        let followers = Followers { imports: Rc::clone(imports), model };
        followers.make(&Step::Open { model, part, options, adapters: choices })?;
        let loaded = prepare().and_then(|prepared| {
            let (adapters, exchange) = (adapters.list(), Some(collective.clone()));
            let decoder = Decoder::load_share(gguf, source, &adapters, options, exchange)?;
            Ok((decoder, prepared))
        });
        let (decoder, prepared) = agree(&collective, loaded)?;
        Ok((Leader { decoder, followers: Some(followers) }, prepared))
    }

    pub(crate) fn decoder(&self) -> &Decoder<Collective> {
        &self.decoder
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(followers) = &self.followers {
            // If it fails there are no followers any more.
            let _ = followers.make(&Step::Close { model: followers.model });
        }
    }
}

impl Forward for Leader {
    fn vocabulary_tokens(&self) -> usize {
        self.decoder.vocabulary_tokens()
    }

    fn context_tokens(&self) -> u32 {
        self.decoder.context_tokens()
    }

    fn sequences_max(&self) -> usize {
        self.decoder.sequences_max()
    }

    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        if let Some(followers) = &self.followers {
            followers.make(&Step::Forward { model: followers.model, batch: Batch::new(batch) })?;
        }
        self.decoder.forward(batch, logits)
    }

    fn reusable(&self, sequence: usize, tokens: u32) -> u32 {
        self.decoder.reusable(sequence, tokens)
    }

    fn embed(&mut self, batch: &[Span<'_>], vectors: &mut Vec<f32>) -> Result<()> {
        if let Some(followers) = &self.followers {
            followers.make(&Step::Embed { model: followers.model, batch: Batch::new(batch) })?;
        }
        self.decoder.embed(batch, vectors)
    }

    fn relevance(&mut self, vector: &[f32]) -> Result<f32> {
        // Behind all that instances share.
        self.decoder.relevance(vector)
    }

    fn is_encoder(&self) -> bool {
        self.decoder.is_encoder()
    }

    fn truncate(&mut self, sequence: usize, tokens: u32) {
        if let Some(followers) = &self.followers {
            let sequence = sequence as u32;
            // If it fails, so will the next step, which can say so.
            let _ = followers.make(&Step::Truncate { model: followers.model, sequence, tokens });
        }
        self.decoder.truncate(sequence, tokens);
    }

    fn copy(&mut self, from: usize, to: usize) -> Result<()> {
        if let Some(followers) = &self.followers {
            let model = followers.model;
            followers.make(&Step::Copy { model, from: from as u32, to: to as u32 })?;
        }
        self.decoder.copy(from, to)
    }

    fn saved(&self, sequence: usize) -> Result<SavedCache> {
        self.decoder.saved(sequence)
    }

    fn save_page(&mut self, sequence: usize, page: u64, bytes: &mut Vec<u8>) -> Result<()> {
        if let Some(followers) = &self.followers {
            let (model, sequence) = (followers.model, sequence as u32);
            followers.make(&Step::SavePage { model, sequence, page })?;
        }
        self.decoder.save_page(sequence, page, bytes)
    }

    fn restore(&mut self, sequence: usize, saved: &SavedCache) -> Result<()> {
        self.truncate(sequence, 0);
        self.decoder.check_saved(sequence, saved)?;
        let SavedCache { first, tokens, .. } = *saved;
        if let Some(followers) = &self.followers {
            let (model, sequence) = (followers.model, sequence as u32);
            followers.make(&Step::Restore { model, sequence, first, tokens })?;
        }
        self.decoder.make_room(sequence, first, tokens)
    }

    fn restore_page(&mut self, sequence: usize, page: u64, bytes: &[u8]) -> Result<()> {
        if let Some(followers) = &self.followers {
            let (model, sequence, words) = (followers.model, sequence as u32, step::words(bytes));
            followers.make(&Step::RestorePage { model, sequence, page, words })?;
        }
        self.decoder.restore_page(sequence, page, bytes)
    }
}

/// Makes the steps of rank 0 until that ends.
///
/// # Errors
/// When any instance fails. What a step reports by itself, such as memory that does not suffice, is
/// told to rank 0 and ends nothing.
pub(crate) fn serve(imports: &Rc<dyn Imports>) -> Result<()> {
    let collective = Collective(Rc::clone(imports));
    if collective.rank() == 0 {
        let text = "rank 0 runs the app; `serve` is what the other instances run";
        return Err(Error::InvalidArgument(text.into()));
    }
    let mut models: BTreeMap<u32, Decoder<Collective>> = BTreeMap::new();
    // Logits or vectors, which rank 0 has as well.
    let mut rows = Vec::new();
    loop {
        let mut bytes = imports.broadcast(&[])?;
        if bytes.is_empty() {
            return Ok(());
        }
        match Step::decode(&bytes)? {
            Step::Open { model, part, options, adapters } => {
                let loaded = load(&collective, part, &adapters, options);
                if let Ok(decoder) = agree(&collective, loaded) {
                    models.insert(model, decoder);
                }
            }
            Step::Forward { model, batch } => {
                // Its errors are those of all instances: rank 0 reports them.
                let _ = find(&mut models, model)?.forward(&batch.spans()?, &mut rows);
            }
            Step::Embed { model, batch } => {
                let _ = find(&mut models, model)?.embed(&batch.spans()?, &mut rows);
            }
            Step::Truncate { model, sequence, tokens } => {
                find(&mut models, model)?.truncate(sequence as usize, tokens);
            }
            Step::Copy { model, from, to } => {
                // As above.
                let _ = find(&mut models, model)?.copy(from as usize, to as usize);
            }
            Step::SavePage { model, sequence, page } => {
                // As above.
                let _ = find(&mut models, model)?.save_page(sequence as usize, page, &mut bytes);
            }
            Step::Restore { model, sequence, first, tokens } => {
                // As above.
                let _ = find(&mut models, model)?.make_room(sequence as usize, first, tokens);
            }
            Step::RestorePage { model, sequence, page, words } => {
                bytes.clear();
                bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
                // As above.
                let _ = find(&mut models, model)?.restore_page(sequence as usize, page, &bytes);
            }
            Step::Close { model } => {
                models.remove(&model);
            }
        }
    }
}

fn load(
    collective: &Collective,
    part: u32,
    adapters: &[Choice],
    options: Options,
) -> Result<Decoder<Collective>> {
    let imports = &collective.0;
    let parts = imports.parts()?;
    let found = parts.get(part as usize);
    let found = found.ok_or_else(|| Error::NotFound(format!("there is no part {part}")))?;
    let source = PartSource::new(Rc::clone(imports), part, found);
    let gguf = Gguf::read(&source).map_err(|error| Error::InvalidModel(error.to_string()))?;
    let adapters = Adapters::open(imports, &parts, adapters)?;
    Decoder::load_share(&gguf, &source, &adapters.list(), options, Some(collective.clone()))
}

fn find(
    models: &mut BTreeMap<u32, Decoder<Collective>>,
    model: u32,
) -> Result<&mut Decoder<Collective>> {
    models.get_mut(&model).ok_or_else(|| Error::Other {
        code: "instance".into(),
        message: format!("rank 0 computes with model {model}, which this instance does not have"),
    })
}
