"""The query families about routes; families.py has the others.

rutas_largas, slots {comarca: Ribalta, km: 12}:
    ¿Qué rutas de Ribalta superan los 12 km?
    SELECT nombre FROM rutas WHERE comarca = 'Ribalta' AND km > 12
"""

from datasets_src.generators.senderos.family import Family

ROUTE_FAMILIES = (
    Family(
        "contar_rutas",
        {"comarca": "comarca"},
        "SELECT COUNT(*) FROM rutas WHERE comarca = '{comarca}'",
        (
            "¿Cuántas rutas hay en {comarca}?",
            "Número de rutas de {comarca}",
            "Dime cuántas rutas tiene {comarca}",
            "Cuenta las rutas que pasan por {comarca}",
            "Quiero saber cuántas rutas hay en la comarca {comarca}",
            "¿Cuántas rutas tiene {comarca}?",
            "Dime el número de rutas de la comarca {comarca}",
        ),
    ),
    Family(
        "rutas_largas",
        {"comarca": "comarca", "km": "km"},
        "SELECT nombre FROM rutas WHERE comarca = '{comarca}' AND km > {km}",
        (
            "¿Qué rutas de {comarca} superan los {km} km?",
            "Rutas de {comarca} con más de {km} km",
            "Lista las rutas de más de {km} km en {comarca}",
            "En {comarca}, ¿qué rutas miden más de {km} km?",
            "Dime las rutas largas, de más de {km} km, de {comarca}",
            "¿Qué rutas de {comarca} miden más de {km} km?",
            "Lista las rutas de {comarca} que superan los {km} km",
        ),
    ),
    Family(
        "rutas_cortas",
        {"nivel": "nivel", "km": "km"},
        "SELECT nombre FROM rutas WHERE dificultad = '{nivel}' AND km < {km}",
        (
            "¿Qué rutas {nivel} tienen menos de {km} km?",
            "Rutas {nivel} de menos de {km} km",
            "Lista las rutas {nivel} que no llegan a {km} km",
            "Dime qué rutas {nivel} miden menos de {km} km",
            "Busco rutas {nivel} y cortas, de menos de {km} km",
            "Lista las rutas {nivel} de menos de {km} km",
            "¿Qué rutas {nivel} miden menos de {km} km?",
        ),
    ),
    Family(
        "ruta_extrema",
        {"comarca": "comarca", "medida": "medida"},
        "SELECT nombre FROM rutas WHERE comarca = '{comarca}' ORDER BY {medida} DESC LIMIT 1",
        (
            "¿Qué ruta de {comarca} tiene mayor {medida}?",
            "Ruta con la mayor {medida} de {comarca}",
            "Dime la ruta de {comarca} con más {medida}",
            "En {comarca}, ¿cuál es la ruta de mayor {medida}?",
            "Busca la ruta que gana en {medida} dentro de {comarca}",
            "Dime la ruta de {comarca} con mayor {medida}",
            "¿Cuál es la ruta con más {medida} de {comarca}?",
        ),
    ),
    Family(
        "media_rutas",
        {"comarca": "comarca", "medida": "medida"},
        "SELECT AVG({medida}) FROM rutas WHERE comarca = '{comarca}'",
        (
            "¿Cuál es la media de {medida} de las rutas de {comarca}?",
            "Promedio de {medida} de las rutas en {comarca}",
            "Calcula la media de {medida} en {comarca}",
            "En {comarca}, ¿qué media de {medida} tienen las rutas?",
            "Dime el promedio de {medida} de {comarca}",
            "Calcula la media de {medida} de las rutas de {comarca}",
            "¿Cuál es el promedio de {medida} en {comarca}?",
        ),
    ),
    Family(
        "primeras_rutas",
        {"cuantas": "cuantas", "nivel": "nivel", "medida": "medida"},
        "SELECT nombre FROM rutas WHERE dificultad = '{nivel}' ORDER BY {medida} DESC "
        "LIMIT {cuantas}",
        (
            "Las {cuantas} rutas {nivel} con mayor {medida}",
            "¿Cuáles son las {cuantas} rutas {nivel} de más {medida}?",
            "Dame {cuantas} rutas {nivel} ordenadas por {medida} de mayor a menor",
            "Las primeras {cuantas} rutas {nivel} según su {medida}",
            "Enumera las {cuantas} rutas {nivel} que tienen más {medida}",
            "Dame las {cuantas} rutas {nivel} con más {medida}",
            "¿Cuáles son las {cuantas} rutas {nivel} con mayor {medida}?",
        ),
    ),
    Family(
        "desnivel_entre",
        {"comarca": "comarca", "desnivel": "desnivel"},
        "SELECT nombre, desnivel FROM rutas WHERE comarca = '{comarca}' AND desnivel <= {desnivel}",
        (
            "Rutas de {comarca} con un desnivel de hasta {desnivel} m",
            "¿Qué rutas de {comarca} no pasan de {desnivel} m de desnivel?",
            "Nombre y desnivel de las rutas de {comarca} de {desnivel} m como mucho",
            "En {comarca}, rutas cuyo desnivel sea {desnivel} m o menos",
            "Lista con su desnivel las rutas de {comarca} que suben como máximo {desnivel} m",
            "¿Qué rutas de {comarca} suben {desnivel} m como máximo?",
            "Lista las rutas de {comarca} con un desnivel de {desnivel} m o menos",
        ),
    ),
    Family(
        "medida_ruta",
        {"medida": "medida", "ruta": "ruta"},
        "SELECT {medida} FROM rutas WHERE nombre = '{ruta}'",
        (
            "¿Qué {medida} tiene la ruta {ruta}?",
            "{medida} de la ruta {ruta}",
            "Dime qué {medida} tiene la ruta {ruta}",
            "Consulta {medida} de la ruta {ruta}",
            "Para la ruta {ruta}, ¿qué {medida} figura?",
            "Dime {medida} de la ruta {ruta}",
            "¿Qué {medida} figura para la ruta {ruta}?",
        ),
    ),
)
