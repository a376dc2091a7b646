//! Records as JUnit XML.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use scalebed_record::Record;
use scalebed_record::verdict::{Outcome, Verdict};

use crate::Error;

pub(crate) fn report(records: &[Record]) -> Result<String, Error> {
    let mut report = Report::new("scalebed");
    for record in records {
        let mut suite = TestSuite::new(format!("{}/{}", record.lab, record.scenario));
        suite.add_property(("seed", record.seed.to_string().as_str()));
        suite.add_property(("world", record.world.as_str()));
        suite.add_property(("command", record.command.as_str()));
        suite.add_test_cases(record.verdicts.iter().map(case));
        if record.verdicts.is_empty() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message("no check said anything");
            suite.add_test_case(TestCase::new("verdicts", status));
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}

fn case(verdict: &Verdict) -> TestCase {
    let status = match &verdict.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        Outcome::Fail(evidence) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type("fail");
            status.set_message(format!("{}, limit {}", verdict.value, verdict.limit));
            status.set_description(evidence.join("\n"));
            status
        }
        Outcome::Invalid(reason) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("invalid");
            status.set_message(reason.as_str());
            status
        }
    };
    let mut case = TestCase::new(verdict.check.as_str(), status);
    case.set_system_out(format!("{} {} (limit {})", verdict.value, verdict.accuracy, verdict.limit));
    case
}
