//! Kubernetes quantities of bytes: `50Gi`, `1500M`, `53687091200`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffixes with their factor. `k` is 1000 here: this is not Loki's dialect.
const SUFFIXES: [(&str, f64); 14] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("m", 1e-3),
    ("", 1.0),
];

/// The quantity in bytes, rounded up; `None` when it is no quantity or negative.
///
/// Source: Kubernetes API, `resource.Quantity`.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let exponent = |text: &str| text.contains(['e', 'E']).then(|| text.parse::<f64>().ok()).flatten();
    let value = exponent(text).or_else(|| {
        let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix))?;
        let digits = text.strip_suffix(suffix)?;
        let numeric = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '+'));
        numeric.then(|| digits.parse::<f64>().ok().map(|number| number * factor)).flatten()
    })?;
    (value.is_finite() && (0.0..1.8e19).contains(&value)).then(|| value.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quantities() {
        #[track_caller]
        fn check(text: &str, want: Option<u64>) {
            assert_eq!(bytes(&Quantity(text.to_owned())), want, "{text}");
        }
        check("50Gi", Some(50 << 30));
        check("53687091200", Some(50 << 30));
        check("1500M", Some(1_500_000_000));
        check("1.5Gi", Some(3 << 29));
        check("2e3", Some(2000));
        check("100m", Some(1));
        check("0", Some(0));
        check("1k", Some(1000));
        check("-1", None);
        check("", None);
        check("Gi", None);
        check("5 GB", None);
        check("inf", None);
    }
}
