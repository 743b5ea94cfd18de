-- Optuna's tables and the gateway's would share the table that names their schema's version.
CREATE DATABASE search;
