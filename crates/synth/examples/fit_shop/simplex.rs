//! Downhill simplex search (Nelder and Mead, 1965), with the usual coefficients.

/// The best point found from `start` with at most `evaluations` values of `f`, plus those of the
/// first simplex; `start` itself if that is 0.
pub fn minimise(
    f: &mut dyn FnMut(&[f64]) -> f64,
    start: &[f64],
    steps: &[f64],
    evaluations: usize,
) -> Vec<f64> {
    if evaluations == 0 {
        return start.to_vec();
    }
    let n = start.len();
    let mut points = vec![(f(start), start.to_vec())];
    for (axis, step) in steps.iter().enumerate() {
        let mut point = start.to_vec();
        point[axis] += step;
        points.push((f(&point), point));
    }
    let mut used = 0;
    while used < evaluations {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut centre = vec![0.0; n];
        for (_, point) in &points[..n] {
            for (sum, value) in centre.iter_mut().zip(point) {
                *sum += value / n as f64;
            }
        }
        let (best, second_worst, worst) = (points[0].0, points[n - 1].0, points[n].clone());
        let reflected = evaluate(f, &centre, &worst.1, -1.0, &mut used);
        if reflected.0 < best {
            let expanded = evaluate(f, &centre, &worst.1, -2.0, &mut used);
            points[n] = if expanded.0 < reflected.0 {
                expanded
            } else {
                reflected
            };
            continue;
        }
        if reflected.0 < second_worst {
            points[n] = reflected;
            continue;
        }
        let towards = if reflected.0 < worst.0 { -0.5 } else { 0.5 };
        let contracted = evaluate(f, &centre, &worst.1, towards, &mut used);
        if contracted.0 < worst.0.min(reflected.0) {
            points[n] = contracted;
            continue;
        }
        let best = points[0].1.clone();
        for point in &mut points[1..] {
            *point = evaluate(f, &best, &point.1, 0.5, &mut used);
        }
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.swap_remove(0).1
}

/// The point at `centre + by (point - centre)` with its value.
fn evaluate(
    f: &mut dyn FnMut(&[f64]) -> f64,
    centre: &[f64],
    point: &[f64],
    by: f64,
    used: &mut usize,
) -> (f64, Vec<f64>) {
    let mut moved = Vec::with_capacity(point.len());
    for (c, p) in centre.iter().zip(point) {
        moved.push(c + by * (p - c));
    }
    *used += 1;
    (f(&moved), moved)
}
