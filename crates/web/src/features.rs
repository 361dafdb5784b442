//! Which features of WebAssembly modules take.

use wasmparser::{Validator, WasmFeatures};

use crate::manifest::Feature;

const FEATURES: &[(Feature, WasmFeatures)] = &[
    (Feature::Simd, WasmFeatures::SIMD),
    (Feature::RelaxedSimd, WasmFeatures::RELAXED_SIMD),
    (Feature::MultiMemory, WasmFeatures::MULTI_MEMORY),
];

/// The features without which one of the modules is not valid.
pub(crate) fn required<'a>(modules: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<Feature> {
    let is_valid = |without: WasmFeatures, module: &[u8]| {
        let features = WasmFeatures::all().difference(without);
        Validator::new_with_features(features).validate_all(module).is_ok()
    };
    let required = FEATURES.iter().filter(|(_, feature)| {
        let mut modules = modules.clone();
        modules.any(|module| !is_valid(*feature, module))
    });
    required.map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Feature> {
        let module = wat::parse_str(text).expect("a module");
        required([module.as_slice()].into_iter())
    }

    #[test]
    fn features_are_those_without_which_a_module_is_invalid() {
        assert_eq!(of("(module (memory 1))"), []);
        assert_eq!(of("(module (memory 1) (memory 1))"), [Feature::MultiMemory]);
        let simd = "(module (func (param v128) (result v128) local.get 0 v128.not))";
        assert_eq!(of(simd), [Feature::Simd]);
        let relaxed = "(module (func (param v128 v128) (result v128)
            local.get 0 local.get 1 i8x16.relaxed_swizzle))";
        assert_eq!(of(relaxed), [Feature::Simd, Feature::RelaxedSimd]);
    }
}
