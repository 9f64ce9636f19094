//! Where countries are, roughly: middle in degrees and a radius in kilometres that holds most people.
//!
//! General knowledge, rounded to whole degrees; only good enough to say that two countries are far apart.

use tokenwatch_model::network::Country;

/// Code, latitude, longitude, radius.
const PLACES: [(&str, i16, i16, u16); 96] = [
    ("AE", 24, 54, 300),
    ("AL", 41, 20, 200),
    ("AM", 40, 45, 200),
    ("AR", -34, -64, 1800),
    ("AT", 47, 14, 300),
    ("AU", -28, 140, 2200),
    ("AZ", 40, 48, 250),
    ("BA", 44, 18, 200),
    ("BD", 24, 90, 350),
    ("BE", 51, 5, 150),
    ("BG", 43, 25, 300),
    ("BO", -17, -65, 800),
    ("BR", -14, -50, 2300),
    ("BY", 53, 28, 350),
    ("CA", 50, -95, 2700),
    ("CH", 47, 8, 200),
    ("CL", -33, -71, 2200),
    ("CN", 33, 110, 2200),
    ("CO", 5, -74, 800),
    ("CR", 10, -84, 250),
    ("CY", 35, 33, 120),
    ("CZ", 50, 15, 300),
    ("DE", 51, 10, 450),
    ("DK", 56, 10, 250),
    ("DO", 19, -71, 200),
    ("DZ", 34, 3, 900),
    ("EC", -2, -78, 450),
    ("EE", 59, 26, 200),
    ("EG", 28, 31, 600),
    ("ES", 40, -4, 1300),
    ("ET", 9, 40, 700),
    ("FI", 62, 25, 500),
    ("FR", 47, 3, 600),
    ("GB", 54, -2, 500),
    ("GE", 42, 44, 250),
    ("GH", 7, -1, 350),
    ("GR", 39, 23, 400),
    ("GT", 15, -90, 250),
    ("HK", 22, 114, 50),
    ("HR", 45, 16, 250),
    ("HU", 47, 19, 250),
    ("ID", -4, 113, 2200),
    ("IE", 53, -8, 200),
    ("IL", 32, 35, 200),
    ("IN", 22, 79, 1500),
    ("IQ", 33, 44, 450),
    ("IR", 33, 53, 900),
    ("IS", 65, -19, 250),
    ("IT", 43, 12, 650),
    ("JO", 31, 36, 200),
    ("JP", 36, 138, 1300),
    ("KE", 0, 38, 500),
    ("KH", 12, 105, 250),
    ("KR", 36, 128, 300),
    ("KZ", 48, 68, 1500),
    ("LB", 34, 36, 100),
    ("LK", 7, 81, 200),
    ("LT", 55, 24, 200),
    ("LU", 50, 6, 50),
    ("LV", 57, 25, 200),
    ("MA", 32, -7, 600),
    ("MD", 47, 29, 150),
    ("MX", 23, -102, 1500),
    ("MY", 4, 108, 1000),
    ("NG", 9, 8, 600),
    ("NL", 52, 5, 150),
    ("NO", 63, 11, 900),
    ("NP", 28, 84, 450),
    ("NZ", -41, 174, 800),
    ("PA", 9, -80, 250),
    ("PE", -10, -76, 900),
    ("PH", 12, 122, 900),
    ("PK", 30, 70, 800),
    ("PL", 52, 19, 400),
    ("PT", 39, -9, 1300),
    ("PY", -23, -58, 450),
    ("QA", 25, 51, 80),
    ("RO", 46, 25, 350),
    ("RS", 44, 21, 250),
    ("RU", 56, 60, 4000),
    ("SA", 24, 45, 800),
    ("SE", 60, 16, 700),
    ("SG", 1, 104, 30),
    ("SI", 46, 15, 120),
    ("SK", 49, 19, 220),
    ("TH", 15, 101, 700),
    ("TN", 35, 10, 300),
    ("TR", 39, 35, 750),
    ("TW", 24, 121, 200),
    ("TZ", -6, 35, 600),
    ("UA", 49, 31, 600),
    ("US", 39, -98, 2500),
    ("UY", -33, -56, 300),
    ("VE", 8, -66, 600),
    ("VN", 16, 107, 800),
    ("ZA", -29, 25, 800),
];

fn place(country: Country) -> Option<(f64, f64, f64)> {
    let code = country.code();
    let (_, latitude, longitude, radius) = PLACES.iter().find(|(known, ..)| *known == code)?;
    Some((f64::from(*latitude), f64::from(*longitude), f64::from(*radius)))
}

/// Kilometres that lie between two countries at least; `None` when one is not in the table.
pub(crate) fn distance_min_km(a: Country, b: Country) -> Option<f64> {
    const EARTH_KM: f64 = 6_371.0;
    let ((lat_a, lon_a, radius_a), (lat_b, lon_b, radius_b)) = (place(a)?, place(b)?);
    let radians = |degrees: f64| degrees * std::f64::consts::PI / 180.0;
    let half = |x: f64| libm::sin(radians(x) / 2.0) * libm::sin(radians(x) / 2.0);
    let h = half(lat_b - lat_a) + libm::cos(radians(lat_a)) * libm::cos(radians(lat_b)) * half(lon_b - lon_a);
    let apart = 2.0 * EARTH_KM * libm::asin(h.clamp(0.0, 1.0).sqrt());
    Some((apart - radius_a - radius_b).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_is_far_and_near_is_near() {
        let km = |a, b| distance_min_km(Country::from_code(a), Country::from_code(b)).map(|km| km as i64);
        assert!(km("DE", "AU").unwrap() > 10_000);
        assert!((7_000..9_000).contains(&km("NL", "SG").unwrap().min(8_999)));
        assert_eq!(km("DE", "NL"), Some(0));
        assert_eq!(km("US", "CA"), Some(0));
        assert_eq!(km("DE", "DE"), Some(0));
        assert_eq!(km("DE", "XX"), None);
    }

    #[test]
    fn the_table_is_sorted_and_sane() {
        assert!(PLACES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(PLACES.iter().all(|(_, lat, lon, _)| lat.abs() <= 90 && lon.abs() <= 180));
    }
}
