CREATE TABLE rutas (id INTEGER, nombre TEXT, comarca TEXT, km REAL, desnivel INTEGER, dificultad TEXT);
CREATE TABLE especies (id INTEGER, nombre TEXT, grupo TEXT, protegida INTEGER);
CREATE TABLE avistamientos (especie_id INTEGER, ruta_id INTEGER, anio INTEGER, ejemplares INTEGER);
CREATE TABLE refugios (id INTEGER, nombre TEXT, comarca TEXT, altitud INTEGER, plazas INTEGER);
