//! engine component.
