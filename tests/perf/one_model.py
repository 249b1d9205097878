"""What the performance scripts measure: one listener, one small model, one rule."""

CONFIG = """
edge: {id: perf, data_dir: ./data}
models: {anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["site/#"], device: "topic[2]", time: {field: timestamp},
           receive_maximum: 20000}
pipelines: {main: {from: [direct], steps: [{detect: {model: anomaly, max_rows: 4096}}, {decide: {alert_when: "score > 0.8"}}]}}
admin: {address: "127.0.0.1:0"}
"""
