//! Labs and scenarios: as written (spec), validated and addressed (lab).

pub mod lab;
pub mod scenario;

pub use lab::Lab;
pub use scenario::Scenario;
