//! A configuration component.
