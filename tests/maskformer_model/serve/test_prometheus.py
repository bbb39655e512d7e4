"""Prometheus's text, by hand."""

from maskformer_model.serve.prometheus import Histogram, Metrics


def test_a_bucket_counts_what_is_at_most_its_bound():
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 7):
        histogram.observe(value)
    assert histogram.lines("x") == [
        'x_bucket{le="1"} 2',
        'x_bucket{le="2"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 10.000000",
        "x_count 4",
    ]


def test_requests_are_counted_by_status_and_gauges_read_when_asked():
    metrics, waiting = Metrics(), [3]
    metrics.watch("queue_photos", "gauge", "Photos that wait.", lambda: waiting[0])
    for status in (200, 503, 200):
        metrics.count_request(status)
    lines = metrics.text().splitlines()
    assert 'maskformer_requests_total{status="200"} 2' in lines
    assert 'maskformer_requests_total{status="503"} 1' in lines
    assert "queue_photos 3" in lines
    waiting[0] = 4
    assert "# TYPE queue_photos gauge\nqueue_photos 4\n" in metrics.text()
    assert lines.index("# TYPE maskformer_request_seconds histogram") > 0
