//! The few formulas that verdicts rest on.

/// Largest deviation of a count from its expectation `expected`, of a share `weight`, that an even spread allows.
pub fn tolerance(expected: f64, weight: f64) -> f64 {
    0.05 * expected + 3.5 * (expected * (1.0 - weight)).max(0.0).sqrt()
}

/// The Wilson score interval of `hits` of `all` at 95 %, in percent.
pub fn wilson(hits: u32, all: u32) -> (f64, f64) {
    score(f64::from(hits), f64::from(all), 1.959_964)
}

/// The same at 99 %, of cases that may be worth less than one each.
pub fn wilson_99(hits: f64, all: f64) -> (f64, f64) {
    score(hits, all, 2.575_829)
}

/// The same at four standard deviations: a right share is outside once in 16,000 times. For verdicts, of which a run has
/// many: at 99 % one of ten that judge ten shares would be wrong.
pub fn wilson_4(hits: f64, all: f64) -> (f64, f64) {
    score(hits, all, 4.0)
}

fn score(hits: f64, n: f64, z: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 100.0);
    }
    let p = hits / n;
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((centre - half) / scale).max(0.0) * 100.0, ((centre + half) / scale).min(1.0) * 100.0)
}

/// Probability that chi-square with `freedom` degrees is at least `x`, by Wilson and Hilferty's normal approximation.
pub fn chi_square_p(x: f64, freedom: f64) -> f64 {
    if freedom <= 0.0 {
        return 1.0;
    }
    let v = 2.0 / (9.0 * freedom);
    let z = ((x / freedom).cbrt() - (1.0 - v)) / v.sqrt();
    // Abramowitz and Stegun 26.2.17: error below 7.5e-8.
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let tail =
        t * (0.319_381_53 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let upper = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * tail;
    if z >= 0.0 { upper } else { 1.0 - upper }
}

/// A quantile of sorted values by the nearest rank; 0 of none.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).saturating_sub(1)).copied().unwrap_or(0.0)
}

/// `of` / `all`; 0 of nothing.
pub fn share(of: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { of as f64 / all as f64 }
}
