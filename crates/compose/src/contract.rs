//! The contract's WIT text, and core modules made into components of it without a compiler.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve, SourceMap, Type};

/// Files of `wit/`, compiled in so that packing needs no files beside the model.
const FILES: &[(&str, &str)] = &[
    ("collective.wit", include_str!("../../../wit/collective.wit")),
    ("configuration.wit", include_str!("../../../wit/configuration.wit")),
    ("inference.wit", include_str!("../../../wit/inference.wit")),
    ("model.wit", include_str!("../../../wit/model.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("worker.wit", include_str!("../../../wit/worker.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// The package without its version.
pub(crate) const PACKAGE: &str = "trefoil:llm";

/// The full name of one of the contract's interfaces.
pub(crate) fn interface_name(interface: &str) -> String {
    format!("{PACKAGE}/{interface}@{}", trefoil_contract::VERSION)
}

/// A part could not be generated. The templates are this crate's own, so that this is a defect of
/// it and not of any input.
#[derive(Debug, thiserror::Error)]
#[error("the component could not be generated (a defect of trefoil, please report it): {0}")]
pub struct GenerateError(pub(crate) String);

impl GenerateError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        GenerateError(error.to_string())
    }
    fn from_anyhow(error: impl std::fmt::Debug) -> Self {
        GenerateError(format!("{error:?}"))
    }
}

/// The contract, resolved.
pub(crate) struct Contract {
    pub(crate) resolve: Resolve,
    package: PackageId,
}

impl Contract {
    pub(crate) fn parse() -> Result<Contract, GenerateError> {
        Contract::parse_with("")
    }

    /// With a further file of the package, unless it is empty.
    pub(crate) fn parse_with(text: &str) -> Result<Contract, GenerateError> {
        let mut sources = SourceMap::new();
        if !text.is_empty() {
            sources.push_str("generated.wit", text);
        }
        for (name, text) in FILES {
            sources.push_str(name, *text);
        }
        let group = sources.parse().map_err(|(_, error)| GenerateError::from_anyhow(error))?;
        let mut resolve = Resolve::new();
        let package = resolve.push_group(group).map_err(GenerateError::from_anyhow)?;
        Ok(Contract { resolve, package })
    }

    /// The result type of a function, and the core name under which a module exports it.
    pub(crate) fn function(
        &self,
        interface: &str,
        name: &str,
    ) -> Result<(Type, String), GenerateError> {
        let found = self.resolve.packages[self.package]
            .interfaces
            .get(interface)
            .and_then(|id| self.resolve.interfaces[*id].functions.get(name))
            .and_then(|function| function.result);
        let result = found.ok_or_else(|| GenerateError(format!("no `{interface}.{name}`")))?;
        Ok((result, format!("{}#{name}", interface_name(interface))))
    }

    /// Makes a core module into a component of the world.
    pub(crate) fn component(
        &self,
        mut module: Vec<u8>,
        world: &str,
    ) -> Result<Vec<u8>, GenerateError> {
        let world = self
            .resolve
            .select_world(&[self.package], Some(world))
            .map_err(GenerateError::from_anyhow)?;
        embed_component_metadata(&mut module, &self.resolve, world, StringEncoding::UTF8, false)
            .map_err(GenerateError::from_anyhow)?;
        ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .and_then(|encoder| encoder.encode())
            .map_err(GenerateError::from_anyhow)
    }
}

/// The component that exports the contract's types and nothing else. It satisfies the imports of
/// `types` that every component of the contract has, so that a composition is left with none.
pub(crate) fn types_component() -> Result<Vec<u8>, GenerateError> {
    let contract = Contract::parse()?;
    contract.component(wasm_encoder::Module::new().finish(), "types-component")
}
