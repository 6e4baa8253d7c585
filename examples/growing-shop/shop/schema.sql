CREATE TABLE stock (sku int PRIMARY KEY, on_hand int NOT NULL);
CREATE TABLE prices (sku int PRIMARY KEY, cents int NOT NULL);
CREATE TABLE shelves (id int PRIMARY KEY, picks bigint NOT NULL DEFAULT 0);
CREATE TABLE reservations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, sku int NOT NULL, shelf int NOT NULL
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int NOT NULL, cents bigint NOT NULL,
    state text NOT NULL DEFAULT 'placed', placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_of_user ON orders (user_id, placed_at);
CREATE TABLE shipments (order_id bigint PRIMARY KEY, shipped_at timestamptz NOT NULL DEFAULT now());
INSERT INTO stock SELECT sku, 1000000 FROM generate_series(1, 500) sku;
INSERT INTO prices SELECT sku, 100 + sku % 900 FROM generate_series(1, 500) sku;
INSERT INTO shelves SELECT id FROM generate_series(1, 64) id;
