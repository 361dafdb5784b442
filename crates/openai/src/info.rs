//! `GET /v1/models`, `GET /health`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::Failure;

/// The models that are offered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`
    object: &'static str,
    data: Vec<ModelBody>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelBody {
    /// Its name.
    id: String,
    /// `model`
    object: &'static str,
    /// When the server was started, in seconds since 1970.
    created: u64,
    /// `trefoil`
    owned_by: &'static str,
}

/// Whether the server is up.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`
    status: &'static str,
}

impl ModelList {
    /// The models of these names, in their order.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>, created_s: u64) -> Self {
        let data = names.into_iter().map(|name| ModelBody::new(name, created_s)).collect();
        ModelList { object: "list", data }
    }
}

impl ModelBody {
    /// A model of this name; the server was started so many seconds after 1970.
    pub fn new(name: &str, created_s: u64) -> Self {
        ModelBody { id: name.into(), object: "model", created: created_s, owned_by: "trefoil" }
    }
}

impl Health {
    /// It is.
    pub fn ok() -> Self {
        Health { status: "ok" }
    }
}

/// Which of the models a request means: the named one, or the only one for no name.
///
/// # Errors
/// No model has the name, or none is named and there are several.
pub fn choose(names: &[String], wanted: Option<&str>) -> Result<usize, Failure> {
    match (wanted, names) {
        (None, [_]) => Ok(0),
        (None, _) => Err(Failure::parameter(
            "model",
            format!("`model` is missing; there are: {}", names.join(", ")),
        )),
        (Some(wanted), names) => names
            .iter()
            .position(|name| name == wanted)
            .ok_or_else(|| Failure::no_model(wanted, names)),
    }
}
