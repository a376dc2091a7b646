//! Labs and scenarios: as written, validated, addressed.
